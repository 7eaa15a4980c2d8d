//! Streams without an end.
//!
//! Costs this side as little as can be, so that what is measured is the balancer: bytes that come
//! are thrown away in the kernel, bytes that go are one buffer again and again. In TLS what comes is
//! not even deciphered: its records add about a thousandth to what is counted.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{RecvFlags, recv};
use rustls::ClientConfig;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use super::client::{Client, message, say};
use super::record::{Record, Trouble};
use super::talk::PAUSE;
use super::wire::Wire;
use super::{Doors, pick};
use crate::scenario::{Bulk, Stream};

/// What is taken or given in one call.
const PIECE: usize = 256 * 1024;

/// A stream that moves nothing for so long is in trouble, and again after as long.
const SILENCE: Duration = Duration::from_secs(1);

static FILLER: [u8; PIECE] = [b'.'; PIECE];

const MESSAGE_BYTES: u32 = 16;

pub(super) fn begin(
    plan: &Bulk,
    Doors { addresses, tls }: Doors<'_>,
    record: &Arc<Record>,
) -> io::Result<()> {
    let wanted = plan.streams.into();
    for number in 0..plan.streams {
        let (record, address) = (Arc::clone(record), pick(addresses, number)?);
        let (way, tls) = (plan.stream, tls.cloned());
        spawn_local(async move {
            loop {
                let trouble = match open((address, tls.as_ref()), number, way).await {
                    Ok(stream) => flow(&stream, way, &record, wanted).await,
                    Err(trouble) => trouble,
                };
                record.trouble(trouble);
                sleep(PAUSE).await;
            }
        });
    }
    Ok(())
}

/// A stream whose node has answered and been told what is to come.
async fn open(
    (address, tls): (SocketAddr, Option<&Arc<ClientConfig>>),
    number: u32,
    way: Stream,
) -> Result<Rc<Wire>, Trouble> {
    let mut client = Client::connect(address, number, tls).await?;
    client.ask(&message(MESSAGE_BYTES)).await?;
    let request = match way {
        Stream::Down => format!("!bytes {}\n", u64::MAX),
        Stream::Up => "!sink\n".to_owned(),
    };
    say(client.stream(), request.as_bytes())?;
    Ok(Rc::clone(client.stream()))
}

async fn flow(wire: &Wire, way: Stream, record: &Record, wanted: u64) -> Trouble {
    // Never written to: its pages never come to be.
    let mut nowhere = match way {
        Stream::Down => vec![0; PIECE],
        Stream::Up => Vec::new(),
    };
    let mut standing = None;
    loop {
        let moved = async {
            match way {
                Stream::Down => discard(wire.socket(), &mut nowhere).await,
                Stream::Up => give(wire).await,
            }
        };
        let Ok(moved) = timeout(SILENCE, moved).await else {
            record.trouble(Trouble::Silent);
            continue;
        };
        match moved {
            Ok(0) => return Trouble::Closed,
            Ok(count) => record.count(count as u64),
            Err(error) => return Trouble::of(&error),
        }
        if standing.is_none() {
            standing = Some(record.stand());
            if record.standing() == wanted {
                record.settle();
            }
        }
    }
}

/// Throws away what has come and tells how much it was.
async fn discard(stream: &TcpStream, nowhere: &mut [u8]) -> io::Result<usize> {
    stream
        .async_io(Interest::READABLE, || {
            // tcp(7): with MSG_TRUNC the bytes are discarded and not copied.
            let (_, count) = recv(stream, &mut *nowhere, RecvFlags::TRUNC)?;
            Ok(count)
        })
        .await
}

async fn give(wire: &Wire) -> io::Result<usize> {
    loop {
        wire.socket().writable().await?;
        match wire.try_write(&FILLER) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            written => return written,
        }
    }
}
