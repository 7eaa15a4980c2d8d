//! A client's connection, observed: how many bytes pass, and how the head of a request arrives.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::clock::Moment;

use super::HEAD_MAX;
use super::held::SCARCE;

/// What was seen of one connection. Atomic only because hyper hands a connection that is upgraded from hand to hand
/// as `Send`; one thread has it.
#[derive(Debug, Default)]
pub(super) struct Seen {
    up: AtomicU64,
    down: AtomicU64,
    /// Requests whose response has not ended.
    in_flight: AtomicU32,
    /// In microseconds; 0: no head is under way.
    head_begun: AtomicU64,
    is_ambiguous: AtomicBool,
    /// Bytes that were taken for the client since all of them were with the system.
    below: AtomicU32,
    /// There is no memory for slow readers.
    is_scarce: AtomicBool,
    /// What comes is no HTTP any more.
    is_tunnel: AtomicBool,
}

impl Seen {
    /// The connection has changed over: it has no heads from here on.
    pub(super) fn become_tunnel(&self) {
        self.is_tunnel.store(true, Relaxed);
        self.head_begun.store(0, Relaxed);
    }

    /// Bytes from and to the client since the last call.
    pub(super) fn take_passed(&self) -> (u64, u64) {
        (self.up.swap(0, Relaxed), self.down.swap(0, Relaxed))
    }

    /// When the head began that has not arrived whole.
    pub(super) fn head_begun(&self) -> Option<Moment> {
        let begun = self.head_begun.load(Relaxed);
        (begun > 0).then(|| Moment::from_micros(begun))
    }

    /// Whether the last head tells its body's length in two ways.
    pub(super) fn is_ambiguous(&self) -> bool {
        self.is_ambiguous.load(Relaxed)
    }

    /// What is encrypted for the client and not with the system yet, at most.
    pub(super) fn below(&self) -> usize {
        BELOW_MAX.min(self.below.load(Relaxed) as usize)
    }

    /// Little is taken at a time from here on, or no longer.
    pub(super) fn note_scarce(&self, is_scarce: bool) {
        self.is_scarce.store(is_scarce, Relaxed);
    }

    /// Whether little is to be taken at a time.
    pub(super) fn is_scarce(&self) -> bool {
        self.is_scarce.load(Relaxed)
    }

    /// A request is under way until the guard is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> InFlight {
        self.head_begun.store(0, Relaxed);
        self.in_flight.fetch_add(1, Relaxed);
        InFlight(Arc::clone(self))
    }
}

/// A request under way.
#[derive(Debug)]
pub(super) struct InFlight(Arc<Seen>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Relaxed);
    }
}

/// A client's connection whose bytes are counted. In HTTP/1.1 the head of a request is looked at a second time: one
/// with both `Content-Length` and `Transfer-Encoding` is an attempt to smuggle (RFC 9112 section 11.2), and hyper
/// would drop one of the two in silence. Of requests that are sent before the one before them is answered only the
/// first is looked at; the others are framed anew all the same.
#[derive(Debug)]
pub(super) struct Observed<S> {
    stream: S,
    seen: Arc<Seen>,
    has_heads: bool,
    head: Vec<u8>,
}

impl<S> Observed<S> {
    pub(super) fn new(stream: S, seen: Arc<Seen>, has_heads: bool) -> Self {
        Self {
            stream,
            seen,
            has_heads,
            head: Vec::new(),
        }
    }

    fn look(&mut self, bytes: &[u8]) {
        if !self.has_heads || self.seen.in_flight.load(Relaxed) > 0 {
            return;
        }
        // Lines without anything may come before a request (RFC 9112 section 2.2).
        let is_blank = |byte: &u8| matches!(byte, b'\r' | b'\n');
        if self.seen.is_tunnel.load(Relaxed) || (self.head.is_empty() && bytes.iter().all(is_blank))
        {
            return;
        }
        if self.head.is_empty() {
            self.seen
                .head_begun
                .store(Moment::now().as_micros(), Relaxed);
            self.seen.is_ambiguous.store(false, Relaxed);
        }
        // What is larger, hyper refuses.
        let room = (HEAD_MAX as usize).saturating_sub(self.head.len());
        let from = self.head.len().saturating_sub(3);
        self.head
            .extend_from_slice(bytes.get(..room.min(bytes.len())).unwrap_or_default());
        let fresh = self.head.get(from..).unwrap_or_default();
        let has_ended = fresh.windows(2).any(|pair| pair == b"\n\n")
            || fresh.windows(3).any(|three| three == b"\n\r\n");
        if has_ended {
            self.seen
                .is_ambiguous
                .store(is_ambiguous(&self.head), Relaxed);
            self.head = Vec::new();
        }
    }
}

impl<S: AsyncWrite + Unpin> Observed<S> {
    /// How much may be taken for the client at once.
    fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if !self.seen.is_scarce() {
            return Poll::Ready(Ok(usize::MAX));
        }
        if self.seen.below() > 0 {
            ready!(Pin::new(&mut *self).poll_flush(context))?;
        }
        Poll::Ready(Ok(SCARCE))
    }

    fn count_written(&self, count: usize) {
        self.seen.down.fetch_add(count as u64, Relaxed);
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let below = self.seen.below.load(Relaxed).saturating_add(count);
        self.seen.below.store(below, Relaxed);
    }
}

/// Whether the head that `bytes` begin with says twice how its body is framed.
fn is_ambiguous(bytes: &[u8]) -> bool {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    // What cannot be read, hyper refuses.
    let _ = request.parse(bytes);
    let has = |name: &str| {
        let mut headers = request.headers.iter();
        headers.any(|header| header.name.eq_ignore_ascii_case(name))
    };
    has("content-length") && has("transfer-encoding")
}

/// As many as hyper takes.
const HEADERS_MAX: usize = 100;
/// What rustls keeps of what it has encrypted.
const BELOW_MAX: usize = 64 * 1024;

impl<S: AsyncRead + Unpin> AsyncRead for Observed<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut this.stream).poll_read(context, buffer));
        match read {
            // Without a farewell, as many a stack closes; HTTP knows its own ends.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
            Err(error) => return Poll::Ready(Err(error)),
            Ok(()) => {}
        }
        let bytes = buffer.filled().get(before..).unwrap_or_default();
        this.seen.up.fetch_add(bytes.len() as u64, Relaxed);
        if !bytes.is_empty() {
            this.look(bytes);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Observed<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let room = ready!(this.poll_room(context))?;
        let bytes = bytes.get(..room.min(bytes.len())).unwrap_or_default();
        let count = ready!(Pin::new(&mut this.stream).poll_write(context, bytes))?;
        this.count_written(count);
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.seen.is_scarce() {
            let part = parts.iter().find(|part| !part.is_empty());
            return self.poll_write(context, part.map_or(&[], |part| part));
        }
        let this = self.get_mut();
        let count = ready!(Pin::new(&mut this.stream).poll_write_vectored(context, parts))?;
        this.count_written(count);
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.stream).poll_flush(context))?;
        this.seen.below.store(0, Relaxed);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;
    use std::task::Waker;

    use super::*;

    /// Keeps what it is given until it is flushed, as TLS does.
    #[derive(Debug, Default)]
    struct Keeping {
        kept: Vec<u8>,
        is_stuck: bool,
    }

    impl AsyncWrite for Keeping {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.kept.extend(bytes);
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            if self.is_stuck && !self.kept.is_empty() {
                return Poll::Pending;
            }
            self.kept.clear();
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn what_lies_encrypted_is_known_and_little_where_memory_is_scarce() {
        let (seen, mut context) = (Arc::<Seen>::default(), Context::from_waker(Waker::noop()));
        let keeping = Keeping {
            is_stuck: true,
            ..Keeping::default()
        };
        let mut observed = Observed::new(keeping, Arc::clone(&seen), false);
        let all = [b'x'; 10_000];
        assert!(matches!(
            Pin::new(&mut observed).poll_write(&mut context, &all),
            Poll::Ready(Ok(10_000))
        ));
        assert!(
            Pin::new(&mut observed)
                .poll_flush(&mut context)
                .is_pending()
        );
        assert_eq!(seen.below(), 10_000);
        seen.note_scarce(true);
        let parts = [&[][..], &all, &all].map(IoSlice::new);
        let mut write = |observed: &mut Observed<_>| {
            Pin::new(observed).poll_write_vectored(&mut context, &parts)
        };
        assert!(write(&mut observed).is_pending(), "that comes first");
        observed.stream.is_stuck = false;
        assert!(matches!(write(&mut observed), Poll::Ready(Ok(SCARCE))));
        assert_eq!((seen.below(), observed.stream.kept.len()), (SCARCE, SCARCE));
        assert_eq!(seen.take_passed(), (0, 10_000 + SCARCE as u64));
    }

    #[test]
    fn a_head_that_frames_its_body_twice_is_ambiguous() {
        let both = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\ntransfer-ENCODING: chunked\r\n\r\n";
        assert!(is_ambiguous(both));
        let one = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert!(!is_ambiguous(one));
        assert!(!is_ambiguous(b"\x16\x03\x01"));
    }
}
