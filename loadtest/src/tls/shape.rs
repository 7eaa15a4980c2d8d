//! The shape of TLS 1.0 as OCS 2007 speaks it, without its cryptography.
//!
//! Nothing on this machine speaks TLS 1.0 any more, and a balancer that passes it on reads no more
//! of it than its records. So these are the right records in the right order, of the right size
//! and version, from a certificate that is one; keys and checksums are random, and what would be
//! encrypted is in clear.
//!
//! ```text
//! ClientHello                                   ─►
//!                ◄─  ServerHello, Certificate, ServerHelloDone
//! ClientKeyExchange, ChangeCipherSpec, Finished ─►
//!                            ◄─  ChangeCipherSpec, Finished
//! lines in records of type 23                  ◄─►
//! ```

use std::io::{self, ErrorKind};
use std::iter::repeat_with;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

/// TLS 1.0 (RFC 2246, section 6.2.1).
pub const VERSION: [u8; 2] = [3, 1];

// Record types, RFC 2246, section 6.2.1.
const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const APPLICATION: u8 = 23;

// Messages of the handshake, RFC 2246, section 7.4.
const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;
const CERTIFICATE: u8 = 11;
const SERVER_HELLO_DONE: u8 = 14;
const CLIENT_KEY_EXCHANGE: u8 = 16;

/// What SChannel of Windows 2003 offers, AES by hotfix: RC4 with MD5 and SHA, 3DES, AES 128 and 256.
const SUITES: [u8; 10] = [0, 0x04, 0, 0x05, 0, 0x0a, 0, 0x2f, 0, 0x35];
/// RC4 with SHA.
const CHOSEN: [u8; 2] = [0, 0x05];

const HEADER: usize = 5;

/// What is taken from below at once.
const READ: usize = 16 * 1024;

/// RFC 2246, section 6.2.1.
const PLAINTEXT_MAX: usize = 1 << 14;
/// RFC 2246, section 6.2.3.
const RECORD_MAX: usize = PLAINTEXT_MAX + 2048;

/// An RSA key of 1024 bits was what one had.
const KEY_BYTES: usize = 128;
/// The Finished of RC4 with SHA: 4 bytes of header, 12 of digest, 20 of checksum.
const FINISHED_BYTES: usize = 36;

/// What a client begins with: no extensions, so no name of whom it wants.
#[must_use]
pub fn client_hello() -> Vec<u8> {
    let mut body = VERSION.to_vec();
    body.extend(random(32));
    body.push(0);
    body.extend([0, 10]);
    body.extend(SUITES);
    body.extend([1, 0]);
    record(HANDSHAKE, &message(CLIENT_HELLO, &body))
}

/// The version that the ClientHello in `bytes` asks for; `None` until it can be told. What is no
/// ClientHello asks for 0.0.
#[must_use]
pub fn version_of_hello(bytes: &[u8]) -> Option<[u8; 2]> {
    let is_other = |at: usize, kind| bytes.get(at).is_some_and(|&byte| byte != kind);
    if is_other(0, HANDSHAKE) || is_other(HEADER, CLIENT_HELLO) {
        return Some([0, 0]);
    }
    let version = bytes.get(HEADER + 4..)?.first_chunk()?;
    Some(*version)
}

/// Takes the part of the server on `stream`.
///
/// # Errors
/// The client ends, or does not keep to the shape.
pub async fn accept<S>(mut stream: S) -> io::Result<Shaped<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let hello = expect(&mut stream, HANDSHAKE).await?;
    if !is_client_hello(&hello) {
        // A fatal protocol_version, RFC 2246, section 7.2.
        stream.write_all(&record(ALERT, &[2, 70])).await?;
        return Err(ErrorKind::InvalidData.into());
    }
    let certificate = super::certificate()?;
    let mut body = VERSION.to_vec();
    body.extend(random(32));
    body.push(32);
    body.extend(random(32));
    body.extend(CHOSEN);
    body.push(0);
    let mut flight = message(SERVER_HELLO, &body);
    let chain = with_length(&with_length(certificate));
    flight.extend(message(CERTIFICATE, &chain));
    flight.extend(message(SERVER_HELLO_DONE, &[]));
    stream.write_all(&record(HANDSHAKE, &flight)).await?;

    let exchange = expect(&mut stream, HANDSHAKE).await?;
    let kinds = kinds_of(&exchange);
    is(kinds.as_deref() == Some(&[CLIENT_KEY_EXCHANGE]))?;
    hear_finished(&mut stream).await?;
    stream.write_all(&finished()).await?;
    Ok(Shaped::new(stream))
}

/// Takes the part of the client on `stream`.
///
/// # Errors
/// The server ends, or does not keep to the shape.
pub async fn connect<S>(mut stream: S) -> io::Result<Shaped<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream.write_all(&client_hello()).await?;
    let flight = expect(&mut stream, HANDSHAKE).await?;
    let kinds = kinds_of(&flight);
    is(kinds.as_deref() == Some(&[SERVER_HELLO, CERTIFICATE, SERVER_HELLO_DONE]))?;
    let mut exchange = vec![0, 128];
    exchange.extend(random(KEY_BYTES));
    let mut answer = record(HANDSHAKE, &message(CLIENT_KEY_EXCHANGE, &exchange));
    answer.extend(finished());
    stream.write_all(&answer).await?;
    hear_finished(&mut stream).await?;
    Ok(Shaped::new(stream))
}

/// No extensions, and at least one of the suites of its time.
fn is_client_hello(hello: &[u8]) -> bool {
    let Some(&[CLIENT_HELLO]) = kinds_of(hello).as_deref() else {
        return false;
    };
    let after_random = hello.get(4 + 2 + 32..).unwrap_or_default();
    let parts = after_random.split_first().and_then(|(&length, rest)| {
        let rest = rest.get(usize::from(length)..)?;
        let (length, rest) = rest.split_first_chunk::<2>()?;
        rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
    });
    let Some((suites, compression)) = parts else {
        return false;
    };
    let is_known = |suite: &[u8]| SUITES.chunks(2).any(|known| known == suite);
    hello.get(4..6) == Some(&VERSION) && compression == [1, 0] && suites.chunks(2).any(is_known)
}

async fn hear_finished<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<()> {
    is(expect(stream, CHANGE_CIPHER_SPEC).await? == [1])?;
    is(expect(stream, HANDSHAKE).await?.len() == FINISHED_BYTES)
}

fn finished() -> Vec<u8> {
    let mut records = record(CHANGE_CIPHER_SPEC, &[1]);
    records.extend(record(HANDSHAKE, &random(FINISHED_BYTES)));
    records
}

/// Reads one record, which must be of `kind`.
async fn expect<S: AsyncRead + Unpin>(stream: &mut S, kind: u8) -> io::Result<Vec<u8>> {
    let mut header = [0; HEADER];
    stream.read_exact(&mut header).await?;
    let length = length_of(header)?;
    is(header[0] == kind)?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok(body)
}

fn length_of([_, major, minor, high, low]: [u8; HEADER]) -> io::Result<usize> {
    let length = usize::from(u16::from_be_bytes([high, low]));
    is([major, minor] == VERSION && length <= RECORD_MAX)?;
    Ok(length)
}

/// The kinds of the messages that make up `bytes`, if they do.
fn kinds_of(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut kinds = Vec::new();
    while let [kind, high, middle, low, rest @ ..] = bytes {
        let length = u32::from_be_bytes([0, *high, *middle, *low]) as usize;
        bytes = rest.get(length..)?;
        kinds.push(*kind);
    }
    bytes.is_empty().then_some(kinds)
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut message = vec![kind];
    message.extend(with_length(body));
    message
}

/// `body` after its length in three bytes.
fn with_length(body: &[u8]) -> Vec<u8> {
    let [_, high, middle, low] = u32::try_from(body.len()).unwrap_or(0).to_be_bytes();
    let mut bytes = vec![high, middle, low];
    bytes.extend(body);
    bytes
}

fn record(kind: u8, body: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(body.len()).unwrap_or(0).to_be_bytes();
    let mut record = vec![kind, VERSION[0], VERSION[1], high, low];
    record.extend(body);
    record
}

fn random(count: usize) -> Vec<u8> {
    repeat_with(|| fastrand::u8(..)).take(count).collect()
}

fn is(in_shape: bool) -> io::Result<()> {
    if in_shape {
        Ok(())
    } else {
        Err(ErrorKind::InvalidData.into())
    }
}

/// A stream whose bytes go in records of type 23.
#[derive(Debug)]
pub struct Shaped<S> {
    stream: S,
    /// Bytes that came and have not been taken.
    unread: Vec<u8>,
    /// Bytes of the present record that have not been taken.
    body_left: usize,
    unwritten: Vec<u8>,
}

impl<S> Shaped<S> {
    const fn new(stream: S) -> Self {
        Self {
            stream,
            unread: Vec::new(),
            body_left: 0,
            unwritten: Vec::new(),
        }
    }

    /// What carries the records.
    pub const fn get_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    /// Goes on to the next record with bytes in it, as far as it has come.
    fn open_record(&mut self) -> io::Result<()> {
        while self.body_left == 0
            && let Some(header) = self.unread.first_chunk::<HEADER>()
        {
            self.body_left = length_of(*header)?;
            is(header[0] == APPLICATION)?;
            self.unread.drain(..HEADER);
        }
        Ok(())
    }

    /// Gives what has come of the present record, at most `limit` bytes.
    fn give(&mut self, limit: usize, put: impl FnOnce(&[u8])) -> bool {
        let count = self.body_left.min(self.unread.len()).min(limit);
        put(self.unread.get(..count).unwrap_or_default());
        self.body_left -= count;
        if count == self.unread.len() {
            self.unread = Vec::new();
        } else {
            self.unread.drain(..count);
        }
        count > 0
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Shaped<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            self.open_record()?;
            if self.give(buf.remaining(), |bytes| buf.put_slice(bytes)) {
                return Poll::Ready(Ok(()));
            }
            let mut space = [MaybeUninit::uninit(); READ];
            let mut bytes = ReadBuf::uninit(&mut space);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut bytes))?;
            if bytes.filled().is_empty() {
                let is_whole = self.unread.is_empty() && self.body_left == 0;
                return Poll::Ready(if is_whole {
                    Ok(())
                } else {
                    Err(ErrorKind::UnexpectedEof.into())
                });
            }
            self.unread.extend_from_slice(bytes.filled());
        }
    }
}

impl<S: AsyncWrite + Unpin> Shaped<S> {
    fn poll_write_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.unwritten.is_empty() {
            let count = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.unwritten))?;
            if count == 0 {
                return Poll::Ready(Err(ErrorKind::WriteZero.into()));
            }
            self.unwritten.drain(..count);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Shaped<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_write_out(cx))?;
        let count = bytes.len().min(PLAINTEXT_MAX);
        self.unwritten = record(APPLICATION, bytes.get(..count).unwrap_or_default());
        // What cannot go now goes with the next write or the flush.
        if let Poll::Ready(Err(error)) = self.poll_write_out(cx) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_write_out(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_write_out(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::{DuplexStream, duplex};

    use super::*;

    /// Both ends, over a pipe that holds so many bytes.
    async fn pair(room: usize) -> (Shaped<DuplexStream>, Shaped<DuplexStream>) {
        let (client, server) = duplex(room);
        let (client, server) = tokio::join!(connect(client), accept(server));
        (client.unwrap(), server.unwrap())
    }

    #[tokio::test]
    async fn bytes_arrive_as_they_went_however_small_the_pipe() {
        for room in [1, 7, 64 * 1024] {
            let (mut client, mut server) = pair(room).await;
            let sent: Vec<u8> = (0..40_000_u32).map(|at| at.to_be_bytes()[3]).collect();
            let write = async {
                client.write_all(&sent).await.unwrap();
                client.shutdown().await.unwrap();
            };
            let mut came = Vec::new();
            let (_, read) = tokio::join!(write, server.read_to_end(&mut came));
            read.unwrap();
            assert!(came == sent, "{room}");
        }
    }

    #[test]
    fn the_hello_is_one_of_tls_1_0_without_extensions() {
        let hello = client_hello();
        assert_eq!(hello.len(), HEADER + 4 + 2 + 32 + 1 + 2 + 10 + 2);
        assert_eq!(
            (&hello[..3], &hello[9..11]),
            (&[22, 3, 1][..], &VERSION[..])
        );
        assert!(is_client_hello(&hello[HEADER..]));
        for length in 1..11 {
            assert_eq!(version_of_hello(&hello[..length]), None, "{length}");
        }
        assert_eq!(version_of_hello(&hello), Some(VERSION));
        assert_eq!(version_of_hello(b"\x16\x03\x01\x00\x04\xff"), Some([0, 0]));
    }

    #[tokio::test]
    async fn whoever_does_not_keep_to_the_shape_is_told_by_an_alert() {
        let well = client_hello();
        let with_extension = {
            let mut hello = well.clone();
            hello.extend([0, 0]);
            hello[4] += 2;
            hello[8] += 2;
            hello
        };
        let mut newer = well.clone();
        newer[10] = 3;
        let mut unknown_suites = well;
        unknown_suites[HEADER + 4 + 2 + 32 + 1 + 2..][..10].fill(0x99);
        for hello in [with_extension, newer, unknown_suites] {
            let (mut client, server) = duplex(1024);
            client.write_all(&hello).await.unwrap();
            let error = accept(server).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidData);
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).await.unwrap();
            assert_eq!(answer, [ALERT, 3, 1, 0, 2, 2, 70]);
        }
    }

    #[tokio::test]
    async fn rubbish_after_the_handshake_ends_it() {
        for rubbish in [
            &b"\x17\x03\x03\0\x01x"[..],
            b"\x17\x03\x01\xff\xff",
            b"GET /",
            b"\x15\x03\x01\0\0",
        ] {
            let (mut client, mut server) = pair(1024).await;
            client.get_mut().write_all(rubbish).await.unwrap();
            let error = server.read_u8().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidData);
        }
        let (mut client, mut server) = pair(1024).await;
        client
            .get_mut()
            .write_all(b"\x17\x03\x01\0\x02x")
            .await
            .unwrap();
        drop(client);
        let error = server.read_to_end(&mut Vec::new()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    }

    proptest! {
        #[test]
        fn no_hello_is_too_strange(
            bytes in proptest::collection::vec(any::<u8>(), 0..80),
            at in 0_usize..60,
            byte in any::<u8>(),
            length in 0_usize..60,
        ) {
            let mut hello = client_hello();
            if let Some(place) = hello.get_mut(at) {
                *place = byte;
            }
            hello.truncate(length);
            for bytes in [bytes, hello] {
                let _ = (version_of_hello(&bytes), is_client_hello(&bytes), kinds_of(&bytes));
            }
        }
    }
}
