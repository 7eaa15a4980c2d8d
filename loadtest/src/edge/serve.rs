//! What a simulated node does with one connection.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tokio::io::AsyncWriteExt;
use tokio_rustls::TlsAcceptor;

use super::state::State;
use super::wire::{Opening, Stream, Wire, take};
use crate::lines::{Lines, Request};
use crate::tls::shape;

/// Answers that wait for each other before they are written.
const BATCH: usize = 32 * 1024;

/// What an idle connection may keep of its buffer.
const IDLE_MAX: usize = 1024;

/// What is given or thrown away in one call.
const PIECE: usize = 256 * 1024;

static FILLER: [u8; PIECE] = [b'.'; PIECE];

/// How the node wants a connection to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Politely,
    ByReset,
}

/// Serves one connection until either side has had enough; stands still while the node is frozen.
pub(super) async fn attend(wire: Wire, state: Arc<State>, tls: TlsAcceptor) {
    // Errors are the client's end, or the reset that was asked for.
    let service = async { drop(serve(wire, &state, tls).await) };
    state.unless_frozen(service).await;
}

async fn serve(mut wire: Wire, state: &State, tls: TlsAcceptor) -> io::Result<()> {
    if state.mute.load(Relaxed) {
        return sink(&mut wire).await;
    }
    let opening = wire.opening().await?;
    if opening == Opening::Nothing {
        return Ok(());
    }
    let is_refused = opening != Opening::Lines && state.refuse_tls.load(Relaxed);
    if state.take_doom() || is_refused {
        wire.end_by_reset();
        return Ok(());
    }
    match opening {
        Opening::Nothing | Opening::Lines => {
            if converse(&mut wire, state).await? == End::ByReset {
                wire.end_by_reset();
            }
        }
        // In boxes: or each of thousands of plain connections would have room for their state.
        Opening::Tls => Box::pin(serve_tls(wire, state, tls)).await?,
        Opening::Shape => Box::pin(serve_shape(wire, state)).await?,
    }
    Ok(())
}

async fn serve_tls(wire: Wire, state: &State, tls: TlsAcceptor) -> io::Result<()> {
    // On failure the acceptor has sent the alert that says why.
    let mut stream = tls.accept(wire).await?;
    if converse(&mut stream, state).await? == End::ByReset {
        stream.get_mut().0.end_by_reset();
    }
    Ok(())
}

async fn serve_shape(wire: Wire, state: &State) -> io::Result<()> {
    let mut stream = shape::accept(wire).await?;
    if converse(&mut stream, state).await? == End::ByReset {
        stream.get_mut().end_by_reset();
    }
    Ok(())
}

async fn converse(stream: &mut impl Stream, state: &State) -> io::Result<End> {
    let (mut lines, mut answers) = (Lines::default(), Vec::new());
    loop {
        if take(stream, |bytes| lines.push(bytes)).await? == 0 {
            stream.shutdown().await?;
            return Ok(End::Politely);
        }
        while let Some(request) = lines.next() {
            if let Some(end) = answer(stream, state, request, &mut answers).await? {
                return Ok(end);
            }
        }
        write_out(stream, &mut answers).await?;
        if answers.capacity() > IDLE_MAX {
            answers = Vec::new();
        }
    }
}

async fn answer(
    stream: &mut impl Stream,
    state: &State,
    request: Request<'_>,
    answers: &mut Vec<u8>,
) -> io::Result<Option<End>> {
    if let Request::Line(line) = request {
        let slowness = state.slowness();
        if !slowness.is_zero() {
            tokio::time::sleep(slowness).await;
        }
        for part in [state.name.as_bytes(), b" ", line, b"\n"] {
            answers.extend_from_slice(part);
        }
        state.lines.fetch_add(1, Relaxed);
        if answers.len() >= BATCH {
            write_out(stream, answers).await?;
        }
        return Ok(None);
    }
    write_out(stream, answers).await?;
    Ok(match request {
        Request::Line(_) => None,
        Request::Bytes(count) => {
            fill(stream, count).await?;
            None
        }
        Request::Sink => {
            sink(stream).await?;
            Some(End::Politely)
        }
        Request::Close => {
            stream.shutdown().await?;
            Some(End::Politely)
        }
        Request::Reset | Request::TooLong => Some(End::ByReset),
    })
}

async fn write_out(stream: &mut impl Stream, answers: &mut Vec<u8>) -> io::Result<()> {
    if answers.is_empty() {
        return Ok(());
    }
    stream.write_all(answers).await?;
    answers.clear();
    stream.flush().await
}

async fn fill(stream: &mut impl Stream, mut count: u64) -> io::Result<()> {
    while count > 0 {
        let size = usize::try_from(count).unwrap_or(usize::MAX).min(PIECE);
        let written = stream.write(FILLER.get(..size).unwrap_or_default()).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        count -= written as u64;
    }
    stream.flush().await
}

/// Throws away what comes until it ends.
async fn sink(stream: &mut impl Stream) -> io::Result<()> {
    // Hardly ever written to: its pages come to be only if they are.
    let mut nowhere = vec![0; PIECE];
    while poll_fn(|cx| stream.poll_discard(cx, &mut nowhere)).await? > 0 {}
    stream.shutdown().await
}
