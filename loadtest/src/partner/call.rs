//! One connection of a partner, and its successors for ever after.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout_at};
use tokio_rustls::TlsConnector;

use super::record::{ErrorKind, Record};
use super::{Plan, Speech};
use crate::tls::{TlsVersion, client_config, shape};

/// Longest answer that is listened to.
const ANSWER_MAX: usize = 4096;

/// Lines that wait for their answers before the partner stops talking: a frozen node must not
/// make it hoard.
const UNANSWERED_MAX: usize = 100_000;

/// Stands in for "never".
const FOR_EVER: Duration = Duration::from_secs(10 * 365 * 86_400);

/// Calls, and calls again, until it is dropped.
pub(super) async fn keep_calling(plan: Arc<Plan>, record: Arc<Record>, slot: usize) {
    if plan.addresses.is_empty() {
        return;
    }
    let mut choice = slot;
    let mut failures = 0;
    if !plan.rest.is_zero() {
        sleep(plan.rest.mul_f64(fastrand::f64())).await;
    }
    loop {
        let address = plan.addresses.get(choice % plan.addresses.len()).copied();
        let Some(address) = address else { return };
        let kind = call(&plan, &record, slot, address).await;
        choice = choice.wrapping_add(1);
        if record.ended(slot, kind) {
            failures = 0;
            if !plan.rest.is_zero() {
                sleep(plan.rest).await;
            }
        } else {
            sleep(rung(&plan.ladder, failures)).await;
            failures += 1;
        }
        // A balancer that answers and resets at once must not keep this thread to itself.
        tokio::task::yield_now().await;
    }
}

/// The pause after so many failures before this one.
pub(super) fn rung(ladder: &[Duration], failures: usize) -> Duration {
    let rung = ladder.get(failures).or_else(|| ladder.last());
    rung.copied().unwrap_or_default()
}

async fn call(plan: &Plan, record: &Record, slot: usize, address: SocketAddr) -> ErrorKind {
    let patience = plan.patience.unwrap_or(FOR_EVER);
    let deadline = Instant::now() + patience;
    let stream = match timeout_at(deadline, connect(address, plan.source)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return ErrorKind::of(&error),
        Err(_) => return ErrorKind::TimedOut,
    };
    record.connected(slot);
    let failed = match plan.speech {
        Speech::Plain => return converse(stream, plan, record, slot).await,
        Speech::Shape => match timeout_at(deadline, shape::connect(stream)).await {
            Ok(Ok(stream)) => return converse(stream, plan, record, slot).await,
            Ok(Err(error)) => Some(error),
            Err(_) => None,
        },
        Speech::Tls(version) => match timeout_at(deadline, secure(stream, version)).await {
            Ok(Ok(stream)) => return converse(stream, plan, record, slot).await,
            Ok(Err(error)) => Some(error),
            Err(_) => None,
        },
    };
    match failed {
        // An alert, or bytes that are no TLS.
        Some(error) if error.kind() == io::ErrorKind::InvalidData => ErrorKind::Tls,
        Some(error) => ErrorKind::of(&error),
        None => ErrorKind::TimedOut,
    }
}

/// Connects from `source` to `address`.
pub(crate) async fn connect(address: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    }?;
    if let Some(source) = source {
        // Or the ports of this source, once used, would be missing for a minute.
        socket.set_reuseaddr(true)?;
        socket.bind(SocketAddr::new(source, 0))?;
    }
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    // A loopback port that nobody listens on can be picked as the source of a connect to
    // itself: TCP then connects the socket to itself.
    if stream.local_addr()? == address {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    Ok(stream)
}

async fn secure(
    stream: TcpStream,
    version: TlsVersion,
) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let name = ServerName::try_from("sip.edge.test").map_err(io::Error::other)?;
    TlsConnector::from(client_config(version)?)
        .connect(name, stream)
        .await
}

async fn converse<S>(stream: S, plan: &Plan, record: &Record, slot: usize) -> ErrorKind
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut unanswered = Unanswered::new(&plan.name);
    let ended = talk(stream, plan, record, slot, &mut unanswered).await;
    for (_, asked) in unanswered.waiting {
        record.forgot(asked);
    }
    match ended {
        Ok(never) => match never {},
        Err(error) => ErrorKind::of(&error),
    }
}

/// Sends a line every interval and listens, until something ends it.
async fn talk<S>(
    stream: S,
    plan: &Plan,
    record: &Record,
    slot: usize,
    unanswered: &mut Unanswered,
) -> io::Result<std::convert::Infallible>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (reader, mut writer) = tokio::io::split(stream);
    let mut reader = BufReader::new(reader);
    let mut answer = Vec::new();
    let between = plan.interval.max(Duration::from_micros(100));
    // The first line at once; the others not in step with those of every other partner.
    let mut ticks = interval_at(Instant::now() + between.mul_f64(fastrand::f64()), between);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let patience = plan.patience.unwrap_or(FOR_EVER);
    let mut give_up = Instant::now() + patience;
    say(&mut writer, unanswered, record).await?;
    loop {
        tokio::select! {
            biased;
            read = read_line(&mut reader, &mut answer) => {
                read?;
                let asked = unanswered.oldest();
                let Some((node, asked)) = unanswered.settle(&answer) else {
                    asked.into_iter().for_each(|asked| record.forgot(asked));
                    return Err(io::ErrorKind::InvalidData.into());
                };
                record.replied(slot, node, asked);
                answer.clear();
                give_up = Instant::now() + patience;
            }
            () = tokio::time::sleep_until(give_up) => return Err(io::ErrorKind::TimedOut.into()),
            _ = ticks.tick(), if unanswered.len() < UNANSWERED_MAX => {
                say(&mut writer, unanswered, record).await?;
            }
        }
    }
}

async fn say<W>(writer: &mut W, unanswered: &mut Unanswered, record: &Record) -> io::Result<()>
where
    W: AsyncWrite + Unpin,
{
    let (line, at) = unanswered.next();
    record.said(at);
    writer.write_all(&line).await?;
    writer.flush().await?;
    record.sent();
    Ok(())
}

/// Reads up to a line's end; may be dropped halfway and called again with what it has.
async fn read_line<R>(reader: &mut BufReader<R>, line: &mut Vec<u8>) -> io::Result<()>
where
    R: AsyncRead + Unpin,
{
    loop {
        let bytes = reader.fill_buf().await?;
        if bytes.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let end = bytes.iter().position(|&byte| byte == b'\n');
        let taken = end.map_or(bytes.len(), |end| end + 1);
        line.extend_from_slice(bytes.get(..taken).unwrap_or_default());
        reader.consume(taken);
        if end.is_some() {
            return Ok(());
        }
        if line.len() > ANSWER_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
}

/// The numbered lines that wait for their answers on one connection.
#[derive(Debug)]
struct Unanswered {
    name: String,
    next: u64,
    waiting: VecDeque<(u64, std::time::Instant)>,
}

impl Unanswered {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            next: 1,
            waiting: VecDeque::new(),
        }
    }

    fn len(&self) -> usize {
        self.waiting.len()
    }

    fn oldest(&self) -> Option<std::time::Instant> {
        self.waiting.front().map(|(_, asked)| *asked)
    }

    fn next(&mut self) -> (Vec<u8>, std::time::Instant) {
        let (number, now) = (self.next, std::time::Instant::now());
        self.next += 1;
        self.waiting.push_back((number, now));
        (format!("{} {number}\n", self.name).into_bytes(), now)
    }

    /// The node that answers the oldest waiting line, and when that was said, if `answer` is it.
    fn settle<'a>(&mut self, answer: &'a [u8]) -> Option<(&'a str, std::time::Instant)> {
        let answer = std::str::from_utf8(answer).ok()?.strip_suffix('\n')?;
        let (node, line) = answer.split_once(' ')?;
        let number = line.strip_prefix(&*self.name)?.strip_prefix(' ')?;
        let (expected, asked) = self.waiting.pop_front()?;
        (!node.is_empty() && number == expected.to_string()).then_some((node, asked))
    }
}
