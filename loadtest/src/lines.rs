//! The line protocol of simulated nodes: what a client may ask, whatever the chopping.
//!
//! Owns cutting a byte stream into requests within a bound. Knows no sockets.

/// Longest line a node listens to; what is longer ends the connection.
pub const LINE_MAX: usize = 16 * 1024;

/// What an idle connection may keep of its buffer.
const IDLE_MAX: usize = 1024;

/// One thing a client asks of a simulated node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// Any line, without its end: answered by the node's name and the line.
    Line(&'a [u8]),
    /// `!bytes N`: answer that many bytes.
    Bytes(u64),
    /// `!sink`: throw away whatever follows.
    Sink,
    /// `!reset`: reset this connection.
    Reset,
    /// `!close`: close this connection politely.
    Close,
    /// A line beyond [`LINE_MAX`]; nothing after it can be understood.
    TooLong,
}

/// Cuts a stream into requests.
///
/// [`push`](Self::push) and then [`next`](Self::next) until there is none: then at most one
/// unfinished line is held.
#[derive(Debug, Default)]
pub struct Lines {
    held: Vec<u8>,
    /// Where the next request begins.
    start: usize,
    /// Up to where there is no line end.
    searched: usize,
}

impl Lines {
    /// Takes the next bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
    }

    /// The next request that is complete.
    #[expect(
        clippy::should_implement_trait,
        reason = "an iterator cannot lend what it holds"
    )]
    pub fn next(&mut self) -> Option<Request<'_>> {
        let unseen = self.held.get(self.searched..).unwrap_or_default();
        let Some(length) = unseen.iter().position(|&byte| byte == b'\n') else {
            self.tidy();
            return (self.held.len() > LINE_MAX).then(|| {
                self.held = Vec::new();
                self.searched = 0;
                Request::TooLong
            });
        };
        let (start, end) = (self.start, self.searched + length);
        self.start = end + 1;
        self.searched = self.start;
        let line = self.held.get(start..end).unwrap_or_default();
        if line.len() > LINE_MAX {
            return Some(Request::TooLong);
        }
        Some(understand(line))
    }

    /// Forgets what has been told.
    fn tidy(&mut self) {
        self.held.drain(..self.start);
        self.start = 0;
        self.searched = self.held.len();
        if self.held.is_empty() && self.held.capacity() > IDLE_MAX {
            self.held = Vec::new();
        }
    }
}

fn understand(line: &[u8]) -> Request<'_> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match line {
        b"!sink" => Request::Sink,
        b"!reset" => Request::Reset,
        b"!close" => Request::Close,
        _ => count_of_bytes(line).map_or(Request::Line(line), Request::Bytes),
    }
}

fn count_of_bytes(line: &[u8]) -> Option<u64> {
    let digits = line.strip_prefix(b"!bytes ")?;
    std::str::from_utf8(digits).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is asked by `bytes`, as text, fed in pieces of these lengths in turn.
    fn asked(mut bytes: &[u8], cuts: &[usize]) -> Vec<String> {
        let (mut lines, mut requests) = (Lines::default(), Vec::new());
        let mut cuts = cuts.iter().cycle();
        while !bytes.is_empty() {
            let cut = cuts
                .next()
                .map_or(bytes.len(), |cut| *cut.min(&bytes.len()));
            lines.push(&bytes[..cut]);
            bytes = &bytes[cut..];
            while let Some(request) = lines.next() {
                requests.push(format!("{request:?}"));
                if request == Request::TooLong {
                    return requests;
                }
            }
        }
        requests
    }

    #[test]
    fn commands_are_told_from_lines() {
        let text = b"hello\n!bytes 12\r\n!bytes x\n!sink\n!reset\n!close\n\nunfinished";
        let expected = [
            Request::Line(b"hello"),
            Request::Bytes(12),
            Request::Line(b"!bytes x"),
            Request::Sink,
            Request::Reset,
            Request::Close,
            Request::Line(b""),
        ];
        assert_eq!(asked(text, &[]), expected.map(|it| format!("{it:?}")));
    }

    #[test]
    fn a_line_without_end_is_refused_and_not_kept() {
        let mut lines = Lines::default();
        let mut told = 0;
        for _ in 0..=LINE_MAX / 1024 {
            lines.push(&[b'x'; 1024]);
            while let Some(request) = lines.next() {
                assert_eq!(request, Request::TooLong);
                told += 1;
            }
        }
        assert_eq!((told, lines.held.capacity()), (1, 0));
    }

    #[test]
    fn a_line_is_too_long_with_its_end_too_and_one_byte_less_is_well() {
        let long = [&[b'x'; LINE_MAX + 1][..], b"\n"].concat();
        assert_eq!(asked(&long, &[]), ["TooLong"]);
        let well = [&[b'x'; LINE_MAX][..], b"\n"].concat();
        assert!(asked(&well, &[]).concat().starts_with("Line"));
    }

    proptest! {
        #[test]
        fn chopping_changes_nothing(
            text in proptest::collection::vec(
                prop_oneof![
                    Just(b"!bytes 7\n".to_vec()),
                    Just(b"!reset\r\n".to_vec()),
                    Just(b"!close\n".to_vec()),
                    proptest::collection::vec(any::<u8>(), 0..40),
                ],
                0..20,
            ),
            cuts in proptest::collection::vec(1_usize..50, 1..40),
        ) {
            let text = text.concat();
            prop_assert_eq!(asked(&text, &cuts), asked(&text, &[]));
        }
    }
}
