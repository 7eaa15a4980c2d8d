//! A connection below TLS that knows where records begin.
//!
//! Owns the position within the records that come in: whoever is to go on with them in the library's place must begin
//! with a whole one. Does not know what is in them. What a peer sends that is no record, the library refuses.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::wire::{self, Waiting};

/// A connection whose incoming records are followed.
#[derive(Debug)]
pub struct Records {
    socket: Arc<TcpStream>,
    waiting: Waiting,
    /// Whoever waits: a connection may go from one task to another, and the runtime knows the last one that asked.
    task: Option<Waker>,
    cursor: Cursor,
    stops: bool,
}

impl Records {
    /// A connection of which `said`, from its beginning, was read already.
    #[must_use]
    pub fn new(socket: TcpStream, said: &[u8]) -> Self {
        let mut cursor = Cursor::default();
        cursor.pass(said);
        Self {
            socket: Arc::new(socket),
            waiting: Waiting::No,
            task: None,
            cursor,
            stops: false,
        }
    }

    /// The connection itself.
    #[must_use]
    pub const fn socket(&self) -> &Arc<TcpStream> {
        &self.socket
    }

    /// Whether everything that was read are whole records.
    #[must_use]
    pub const fn is_between(&self) -> bool {
        self.cursor.to_come() == 0
    }

    /// Whether to read no further than to the end of the record that has begun. Whoever has it stop looks after each read
    /// whether it [has](Self::has_stopped): it wakes nobody then.
    pub fn stop_between(&mut self, stops: bool) {
        self.stops = stops;
    }

    /// Whether it reads no further.
    #[must_use]
    pub const fn has_stopped(&self) -> bool {
        self.stops && self.is_between()
    }
}

impl From<TcpStream> for Records {
    /// A connection of which nothing was read.
    fn from(socket: TcpStream) -> Self {
        Self::new(socket, &[])
    }
}

impl AsyncRead for Records {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.has_stopped() {
            return Poll::Pending;
        }
        let waker = context.waker();
        if !this.task.as_ref().is_some_and(|task| task.will_wake(waker)) {
            this.task = Some(waker.clone());
            this.waiting = Waiting::No;
        }
        let most = match this.stops {
            true => this.cursor.to_come().min(buffer.remaining()),
            false => buffer.remaining(),
        };
        let room = buffer.initialize_unfilled_to(most);
        let count = ready!(wire::poll_read(
            context,
            &this.socket,
            room,
            &mut this.waiting
        ))?;
        this.cursor.pass(room.get(..count).unwrap_or_default());
        buffer.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Records {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        wire::poll_write(context, &self.socket, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        wire::poll_write_vectored(context, &self.socket, pieces)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(wire::finish(&self.socket))
    }
}

/// The place within records: RFC 8446, section 5.1.
#[derive(Debug, Default)]
struct Cursor {
    header: [u8; HEADER],
    /// How much of the header is there; all of it while the rest of the record comes.
    known: usize,
    /// What follows the header and has not come.
    rest: usize,
}

const HEADER: usize = 5;

impl Cursor {
    /// What of the record that has begun is surely yet to come; 0 between records.
    const fn to_come(&self) -> usize {
        match self.known {
            0 => 0,
            HEADER => self.rest,
            known => HEADER - known,
        }
    }

    fn pass(&mut self, mut bytes: &[u8]) {
        while let Some((&first, others)) = bytes.split_first() {
            if self.known < HEADER {
                if let Some(place) = self.header.get_mut(self.known) {
                    *place = first;
                }
                self.known += 1;
                bytes = others;
                let [_, _, _, high, low] = self.header;
                self.rest = usize::from(u16::from_be_bytes([high, low]));
            } else {
                let (_, after) = bytes.split_at(self.rest.min(bytes.len()));
                self.rest -= bytes.len() - after.len();
                bytes = after;
            }
            if self.known == HEADER && self.rest == 0 {
                self.known = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::{Read, Write};
    use std::pin::pin;
    use std::time::Duration;

    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    fn record(length: usize) -> Vec<u8> {
        let [high, low] = u16::try_from(length).unwrap().to_be_bytes();
        let mut record = vec![23, 3, 3, high, low];
        // Bytes that would be read as another length.
        record.resize(HEADER + length, 0xff);
        record
    }

    proptest! {
        #[test]
        fn the_place_within_records_is_known_however_they_are_chopped(
            lengths in prop::collection::vec(prop_oneof![Just(0usize), 1usize..40, 300usize..600], 1..12),
            chops in prop::collection::vec(1usize..50, 1..200),
        ) {
            let stream: Vec<u8> = lengths.iter().flat_map(|length| record(*length)).collect();
            let mut ends = vec![0];
            for length in &lengths {
                ends.push(ends.last().unwrap() + HEADER + length);
            }
            let (mut cursor, mut passed) = (Cursor::default(), 0);
            for chop in chops {
                let part = &stream[passed..stream.len().min(passed + chop)];
                cursor.pass(part);
                passed += part.len();
                let next = *ends.iter().find(|end| **end >= passed).unwrap();
                prop_assert_eq!(cursor.to_come() == 0, ends.contains(&passed));
                prop_assert!(passed + cursor.to_come() <= next);
            }
        }
    }

    #[tokio::test]
    async fn a_connection_that_goes_to_another_task_wakes_that_one() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut far = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut near = Records::from(listener.accept().await.unwrap().0);
        for _ in 0..2 {
            let mut buffer = [0; 9];
            let mut context = Context::from_waker(Waker::noop());
            let reading = pin!(near.read(&mut buffer)).poll(&mut context);
            assert!(reading.is_pending());
            // A task of its own: the timer below wakes another one.
            let reading = tokio::spawn(async move {
                let count = near.read(&mut buffer).await.unwrap();
                (near, count)
            });
            // Once it waits.
            tokio::task::yield_now().await;
            far.write_all(&record(4)).unwrap();
            let woken = tokio::time::timeout(Duration::from_secs(20), reading).await;
            let (back, count) = woken.expect("it is woken").unwrap();
            assert_eq!(count, 9);
            near = back;
        }
    }

    #[tokio::test]
    async fn many_records_are_written_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut far = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut near = Records::from(listener.accept().await.unwrap().0);
        let sent = [record(100), record(50), record(70)];
        let pieces = [0, 1, 2].map(|each: usize| IoSlice::new(&sent[each]));
        for pieces in [&pieces[..], &pieces[..1]] {
            let expected: Vec<u8> = pieces.iter().flat_map(|piece| piece.to_vec()).collect();
            let written = near.write_vectored(pieces).await.unwrap();
            assert_eq!(written, expected.len());
            let mut received = vec![0; expected.len()];
            far.read_exact(&mut received).unwrap();
            assert_eq!(received, expected);
        }
    }

    #[tokio::test]
    async fn it_reads_no_further_than_to_the_end_of_a_record_until_it_may() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut far = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (near, _) = listener.accept().await.unwrap();
        let sent = [record(100), record(50), record(70)].concat();
        let (said, rest) = sent.split_at(3);
        far.write_all(rest).unwrap();
        let mut near = Records::new(near, said);
        assert!(!near.is_between());
        near.stop_between(true);
        let mut read = said.to_vec();
        let mut buffer = [0; 64];
        while !near.has_stopped() {
            let count = near.read(&mut buffer).await.unwrap();
            read.extend_from_slice(&buffer[..count]);
        }
        assert_eq!(read.len(), HEADER + 100);
        let mut more = pin!(near.read(&mut buffer));
        let waits = poll_fn(|context| Poll::Ready(more.as_mut().poll(context).is_pending()));
        assert!(waits.await, "it reads on");
        near.stop_between(false);
        while read.len() < sent.len() {
            let count = near.read(&mut buffer).await.unwrap();
            read.extend_from_slice(&buffer[..count]);
        }
        assert_eq!(read, sent);
        assert!(near.is_between() && !near.has_stopped());
    }
}
