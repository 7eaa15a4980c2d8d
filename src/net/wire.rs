//! Reading and writing the bytes of a socket, by a system call and nothing besides.
//!
//! What tokio's own reads and writes do, without the C library's: those are points of cancellation for
//! threads, which costs two atomic exchanges each, two hundredths of a small round trip.

use std::io::{self, ErrorKind, IoSlice};
use std::net::UdpSocket;
use std::task::{Context, Poll, ready};

use rustix::io::Errno;
use rustix::net::{
    RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, recv, send, sendmsg, shutdown,
};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::task::coop::has_budget_remaining;

/// Whether the task already waits for bytes of a source.
///
/// A session that is woken looks at both of its sources, and mostly one of them has nothing: to ask the
/// runtime once more to be woken for that one would take a lock, only to find what is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Waiting {
    /// No: the runtime has to be asked.
    #[default]
    No,
    /// Yes: since the last look the runtime has not woken it for this source, or the source is ready.
    Yes,
}

/// Reads what has come into `buffer`; 0 once the peer has finished. One task polls one source, always
/// with the same `waiting`.
///
/// # Errors
///
/// What `recv(2)` refuses.
pub fn poll_read(
    context: &mut Context<'_>,
    source: &TcpStream,
    buffer: &mut [u8],
    waiting: &mut Waiting,
) -> Poll<io::Result<usize>> {
    let room = buffer.len();
    loop {
        if *waiting == Waiting::No {
            // A task that has used up its turn is told to wait too, and then nobody would wake it for
            // this source: coop::has_budget_remaining tells the two apart.
            let is_heard = has_budget_remaining();
            let ready = source.poll_read_ready(context);
            if ready.is_pending() && is_heard {
                *waiting = Waiting::Yes;
            }
            ready!(ready)?;
        }
        let call = || Ok(recv(source, &mut *buffer, RecvFlags::empty())?.1);
        match attempt(source, Interest::READABLE, room, call) {
            Attempt::Decided(result) => {
                *waiting = Waiting::No;
                return Poll::Ready(result);
            }
            Attempt::NotReady if *waiting == Waiting::Yes => return Poll::Pending,
            Attempt::NotReady | Attempt::Blocked => *waiting = Waiting::No,
        }
    }
}

/// Writes as much of `bytes` as the socket takes, at least one byte.
///
/// # Errors
///
/// What `send(2)` refuses.
pub fn poll_write(
    context: &mut Context<'_>,
    sink: &TcpStream,
    bytes: &[u8],
) -> Poll<io::Result<usize>> {
    let call = || Ok(send(sink, bytes, SendFlags::NOSIGNAL)?);
    poll_give(context, sink, bytes.len(), call)
}

/// Writes as much of `pieces`, one after the other, as the socket takes, at least one byte.
///
/// # Errors
///
/// What `sendmsg(2)` refuses.
pub fn poll_write_vectored(
    context: &mut Context<'_>,
    sink: &TcpStream,
    pieces: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    if let [piece] = pieces {
        return poll_write(context, sink, piece);
    }
    let length = pieces.iter().map(|piece| piece.len()).sum();
    poll_give(context, sink, length, || {
        let mut beside = SendAncillaryBuffer::default();
        Ok(sendmsg(sink, pieces, &mut beside, SendFlags::NOSIGNAL)?)
    })
}

/// Takes a datagram that has come to a connected socket into `buffer`, and its length.
///
/// # Errors
///
/// What `recv(2)` refuses; `WouldBlock` where none has come.
pub fn receive_datagram(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<usize> {
    Ok(recv(socket, buffer, RecvFlags::empty())?.1)
}

/// Sends a datagram to whomever a socket is connected to.
///
/// # Errors
///
/// What `send(2)` refuses.
pub fn send_datagram(socket: &UdpSocket, datagram: &[u8]) -> io::Result<()> {
    send(socket, datagram, SendFlags::empty())?;
    Ok(())
}

/// Makes a `call` that sends up to `length` bytes once the socket takes some.
fn poll_give(
    context: &mut Context<'_>,
    sink: &TcpStream,
    length: usize,
    mut call: impl FnMut() -> io::Result<usize>,
) -> Poll<io::Result<usize>> {
    loop {
        ready!(sink.poll_write_ready(context))?;
        match attempt(sink, Interest::WRITABLE, length, &mut call) {
            Attempt::Decided(Ok(0)) => return Poll::Ready(Err(ErrorKind::WriteZero.into())),
            Attempt::Decided(result) => return Poll::Ready(result),
            Attempt::NotReady | Attempt::Blocked => {}
        }
    }
}

/// What became of one attempt to move bytes.
enum Attempt {
    /// So many moved, or an error.
    Decided(io::Result<usize>),
    /// The runtime knows of nothing to be had, so no call was made.
    NotReady,
    /// The call would have blocked, which the runtime now knows.
    Blocked,
}

/// Makes one `call` that moves up to `room` bytes.
///
/// A call that moves some bytes but fewer than there was room for has used up what the socket had
/// (epoll(7), question 9), so the readiness is given back with it, and the next attempt waits for an
/// event instead of hearing that it would block.
fn attempt(
    socket: &TcpStream,
    interest: Interest,
    room: usize,
    call: impl FnOnce() -> io::Result<usize>,
) -> Attempt {
    let (mut short, mut was_called) = (0, false);
    let result = socket.try_io(interest, || {
        was_called = true;
        match call()? {
            moved if moved > 0 && moved < room => {
                short = moved;
                Err(ErrorKind::WouldBlock.into())
            }
            moved => Ok(moved),
        }
    });
    match result {
        Err(error) if error.kind() == ErrorKind::WouldBlock => match (was_called, short) {
            (false, _) => Attempt::NotReady,
            (true, 0) => Attempt::Blocked,
            (true, moved) => Attempt::Decided(Ok(moved)),
        },
        // A signal came first: once more.
        Err(error) if error.kind() == ErrorKind::Interrupted => Attempt::Blocked,
        decided => Attempt::Decided(decided),
    }
}

/// Tells the peer that nothing more will come. One that is already gone has nothing to be told.
///
/// # Errors
///
/// What `shutdown(2)` refuses.
pub fn finish(sink: &TcpStream) -> io::Result<()> {
    match shutdown(sink, Shutdown::Write) {
        Ok(()) | Err(Errno::NOTCONN) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
    use std::sync::{Arc, Mutex};
    use std::task::Waker;
    use std::time::Duration;

    use proptest::prelude::*;
    use tokio::task::coop;

    use super::*;

    async fn pair() -> (TcpStream, std::net::TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await;
        (near.unwrap(), listener.accept().unwrap().0)
    }

    async fn read(near: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
        let mut waiting = Waiting::No;
        let reading = poll_fn(|context| poll_read(context, near, buffer, &mut waiting));
        tokio::time::timeout(Duration::from_secs(10), reading).await?
    }

    #[tokio::test]
    async fn every_byte_is_read_however_the_reads_fall_short_and_then_the_end() {
        let (near, mut far) = pair().await;
        let mut buffer = [0; 4];
        for sent in [&b"abcdefgh"[..], b"ij", b"k"] {
            far.write_all(sent).unwrap();
            let mut received = Vec::new();
            while received.len() < sent.len() {
                let count = read(&near, &mut buffer).await.unwrap();
                received.extend_from_slice(&buffer[..count]);
            }
            assert_eq!(received, sent);
        }
        far.write_all(b"last").unwrap();
        drop(far);
        assert_eq!(read(&near, &mut buffer).await.unwrap(), 4);
        assert_eq!(read(&near, &mut buffer).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn who_waits_already_is_still_woken_and_is_not_told_of_nothing() {
        let (near, mut far) = pair().await;
        let (mut buffer, mut waiting, mut looks) = ([0; 4], Waiting::No, 0);
        let reading = poll_fn(|context| {
            looks += 1;
            let read = poll_read(context, &near, &mut buffer, &mut waiting);
            if looks == 1 {
                assert!(read.is_pending() && waiting == Waiting::Yes);
                // Woken for another reason: nothing has come, and it goes on waiting.
                context.waker().wake_by_ref();
            }
            if looks == 2 {
                assert!(read.is_pending() && waiting == Waiting::Yes);
                far.write_all(b"x").unwrap();
            }
            read
        });
        let read = tokio::time::timeout(Duration::from_secs(10), reading).await;
        assert_eq!(read.unwrap().unwrap(), 1);
        assert_eq!((looks, waiting), (3, Waiting::No));
    }

    /// The runtime makes a task that has done much wait for its next turn, whatever has come.
    #[tokio::test]
    async fn who_was_put_off_for_having_done_much_is_still_woken() {
        let (near, mut far) = pair().await;
        let (tell, told) = tokio::sync::oneshot::channel();
        let mut tell = Some(tell);
        // A task of its own: a deadline around it would wake it, too.
        let reading = tokio::spawn(async move {
            let (mut buffer, mut waiting, mut looks) = ([0; 4], Waiting::No, 0);
            poll_fn(|context| {
                looks += 1;
                if looks == 1 {
                    spend(context);
                }
                let read = poll_read(context, &near, &mut buffer, &mut waiting);
                if looks == 2 {
                    assert!(read.is_pending());
                    let _ = tell.take().unwrap().send(());
                }
                read
            })
            .await
        });
        told.await.unwrap();
        far.write_all(b"x").unwrap();
        let read = tokio::time::timeout(Duration::from_secs(10), reading).await;
        assert_eq!(read.expect("it is woken").unwrap().unwrap(), 1);
    }

    /// What happens to a reader.
    #[derive(Clone, Copy, Debug)]
    enum Event {
        /// So many bytes come, and are waited for.
        Bytes(usize),
        /// So many bytes come, and something else at once.
        MoreToCome(usize),
        /// It is woken for another reason.
        Wake,
        /// The same, when it has done too much for one turn already.
        Spent,
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            (1..20_usize).prop_map(Event::Bytes),
            (1..20_usize).prop_map(Event::MoreToCome),
            Just(Event::Wake),
            Just(Event::Spent),
        ]
    }

    fn spend(context: &mut Context<'_>) {
        while has_budget_remaining() {
            if let Poll::Ready(used) = coop::poll_proceed(context) {
                used.made_progress();
            }
        }
    }

    /// Lives through `events` with a buffer of `room` bytes. The reader is a task of its own, because a
    /// deadline around it would wake it, too.
    async fn live_through(events: Vec<Event>, room: usize) {
        let (near, mut far) = pair().await;
        let (tell, mut told) = tokio::sync::watch::channel(0);
        let waker = Arc::<Mutex<Option<Waker>>>::default();
        let is_spent = Arc::<AtomicBool>::default();
        let (known, spent) = (Arc::clone(&waker), Arc::clone(&is_spent));
        let reader = tokio::spawn(async move {
            let (mut buffer, mut waiting) = (vec![0; room], Waiting::No);
            let mut received = Vec::new();
            poll_fn(|context| {
                *known.lock().unwrap() = Some(context.waker().clone());
                if spent.swap(false, SeqCst) {
                    spend(context);
                }
                loop {
                    let count = ready!(poll_read(context, &near, &mut buffer, &mut waiting))?;
                    if count == 0 {
                        return Poll::Ready(Ok::<_, io::Error>(()));
                    }
                    received.extend_from_slice(&buffer[..count]);
                    let _ = tell.send(received.len());
                }
            })
            .await
            .map(|()| received)
        });
        let mut sent = Vec::new();
        for event in events {
            match event {
                Event::Bytes(count) | Event::MoreToCome(count) => {
                    let bytes: Vec<_> = (sent.len()..sent.len() + count)
                        .map(|at| at.to_le_bytes()[0])
                        .collect();
                    far.write_all(&bytes).unwrap();
                    sent.extend_from_slice(&bytes);
                }
                Event::Wake | Event::Spent => {
                    is_spent.store(matches!(event, Event::Spent), SeqCst);
                    if let Some(waker) = waker.lock().unwrap().take() {
                        waker.wake();
                    }
                    tokio::task::yield_now().await;
                }
            }
            if let Event::Bytes(_) = event {
                let all = told.wait_for(|received| *received == sent.len());
                let all = tokio::time::timeout(Duration::from_secs(10), all).await;
                all.expect("they are read").unwrap();
            }
        }
        drop(far);
        let received = tokio::time::timeout(Duration::from_secs(10), reader).await;
        assert_eq!(received.expect("the end is read").unwrap().unwrap(), sent);
    }

    proptest! {
        // A stall takes its time to fail: few attempts to make it smaller.
        #![proptest_config(ProptestConfig { max_shrink_iters: 4, ..ProptestConfig::with_cases(256) })]
        #[test]
        fn whatever_wakes_a_reader_every_byte_is_read_and_the_end(
            events in proptest::collection::vec(event(), 0..20),
            room in 1..16_usize,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(live_through(events, room));
        }
    }

    #[tokio::test]
    async fn a_full_socket_waits_until_there_is_room_and_loses_nothing() {
        let (near, mut far) = pair().await;
        let bytes: Vec<_> = (0..8_u32 << 20).map(|at| at.to_le_bytes()[0]).collect();
        let expected = bytes.clone();
        let reader = std::thread::spawn(move || {
            let mut received = Vec::new();
            far.read_to_end(&mut received).unwrap();
            received == expected
        });
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let writing = poll_fn(|context| poll_write(context, &near, rest));
            let count = tokio::time::timeout(Duration::from_secs(10), writing).await;
            rest = &rest[count.unwrap().unwrap()..];
        }
        finish(&near).unwrap();
        assert!(reader.join().unwrap());
    }

    #[tokio::test]
    async fn a_peer_that_is_gone_is_an_error_and_need_not_be_told() {
        let (near, far) = pair().await;
        socket2::SockRef::from(&far)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
        drop(far);
        let error = read(&near, &mut [0; 4]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        let writing = poll_fn(|context| poll_write(context, &near, b"x"));
        let error = tokio::time::timeout(Duration::from_secs(10), writing).await;
        assert_eq!(error.unwrap().unwrap_err().kind(), ErrorKind::BrokenPipe);
        finish(&near).unwrap();
    }
}
