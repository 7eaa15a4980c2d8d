//! What a simulated node does with one connection.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

use super::state::{Phase, State};
use super::wire::Wire;
use crate::lines::{Lines, Request};

/// First byte of a TLS record that carries a handshake (RFC 8446, section 5.1).
const TLS_HANDSHAKE: u8 = 0x16;

/// Answers that wait for each other before they are written.
const BATCH: usize = 32 * 1024;

static FILLER: [u8; 256 * 1024] = [b'.'; 256 * 1024];

/// How the node wants a connection to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Politely,
    ByReset,
}

/// Serves one connection until either side has had enough; stands still while the node is frozen.
pub(super) async fn attend(wire: Wire, state: Arc<State>, tls: TlsAcceptor) {
    let mut phase = state.phase.subscribe();
    let mut service = pin!(serve(wire, &state, tls));
    loop {
        let _ = phase.wait_for(|phase| *phase != Phase::Frozen).await;
        tokio::select! {
            biased;
            turned = phase.changed() => if turned.is_err() { return },
            () = &mut service => return,
        }
    }
}

async fn serve(mut wire: Wire, state: &State, tls: TlsAcceptor) {
    let Some(first) = first_byte(&wire).await else {
        return;
    };
    if state.take_doom() || (first == TLS_HANDSHAKE && state.refuse_tls.load(Relaxed)) {
        let _ = wire.read(&mut [0; 4096]).await;
        return wire.end_by_reset();
    }
    if first == TLS_HANDSHAKE {
        // On failure the acceptor has sent the alert that says why.
        let Ok(mut stream) = tls.accept(wire).await else {
            return;
        };
        if converse(&mut stream, state)
            .await
            .is_ok_and(|end| end == End::ByReset)
        {
            stream.get_mut().0.end_by_reset();
        }
    } else if converse(&mut wire, state)
        .await
        .is_ok_and(|end| end == End::ByReset)
    {
        wire.end_by_reset();
    }
}

async fn first_byte(wire: &Wire) -> Option<u8> {
    let mut first = [0];
    match wire.peek(&mut first).await {
        Ok(1..) => Some(first[0]),
        Ok(0) | Err(_) => None,
    }
}

async fn converse<S>(stream: &mut S, state: &State) -> io::Result<End>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut lines = Lines::default();
    let mut requests = Vec::new();
    let mut bytes = vec![0; 16 * 1024];
    loop {
        let count = stream.read(&mut bytes).await?;
        if count == 0 {
            stream.shutdown().await?;
            return Ok(End::Politely);
        }
        lines.feed(bytes.get(..count).unwrap_or_default(), |request| {
            requests.push(request)
        });
        if let Some(end) = answer_all(stream, state, &mut requests).await? {
            return Ok(end);
        }
    }
}

async fn answer_all<S>(
    stream: &mut S,
    state: &State,
    requests: &mut Vec<Request>,
) -> io::Result<Option<End>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut answers = Vec::new();
    for request in requests.drain(..) {
        match request {
            Request::Line(line) => {
                wait_if_slow(state).await;
                for part in [state.name.as_bytes(), b" ", &line, b"\n"] {
                    answers.extend_from_slice(part);
                }
                state.lines.fetch_add(1, Relaxed);
            }
            Request::Bytes(count) => {
                write_out(stream, &mut answers).await?;
                fill(stream, count).await?;
            }
            Request::Sink => {
                write_out(stream, &mut answers).await?;
                sink(stream).await?;
                return Ok(Some(End::Politely));
            }
            Request::Close => {
                write_out(stream, &mut answers).await?;
                stream.shutdown().await?;
                return Ok(Some(End::Politely));
            }
            Request::Reset | Request::TooLong => {
                write_out(stream, &mut answers).await?;
                return Ok(Some(End::ByReset));
            }
        }
        if answers.len() >= BATCH {
            write_out(stream, &mut answers).await?;
        }
    }
    write_out(stream, &mut answers).await?;
    Ok(None)
}

async fn write_out<S>(stream: &mut S, answers: &mut Vec<u8>) -> io::Result<()>
where
    S: AsyncWrite + Unpin,
{
    if answers.is_empty() {
        return Ok(());
    }
    stream.write_all(answers).await?;
    answers.clear();
    stream.flush().await
}

async fn fill<S>(stream: &mut S, mut count: u64) -> io::Result<()>
where
    S: AsyncWrite + Unpin,
{
    while count > 0 {
        let size = usize::try_from(count)
            .unwrap_or(usize::MAX)
            .min(FILLER.len());
        stream
            .write_all(FILLER.get(..size).unwrap_or_default())
            .await?;
        count -= size as u64;
    }
    stream.flush().await
}

async fn sink<S>(stream: &mut S) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut bytes = vec![0; 64 * 1024];
    while stream.read(&mut bytes).await? > 0 {}
    stream.shutdown().await
}

async fn wait_if_slow(state: &State) {
    let slowness = state.slowness();
    if !slowness.is_zero() {
        tokio::time::sleep(slowness).await;
    }
}
