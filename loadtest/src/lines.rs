//! The line protocol of simulated nodes: what a client may ask, whatever the chopping.
//!
//! Owns cutting a byte stream into requests within a bound. Knows no sockets.

/// Longest line a node listens to; what is longer ends the connection.
pub const LINE_MAX: usize = 16 * 1024;

/// One thing a client asks of a simulated node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Any line, without its end: answered by the node's name and the line.
    Line(Vec<u8>),
    /// `!bytes N`: answer that many bytes.
    Bytes(u64),
    /// `!sink`: throw away whatever follows.
    Sink,
    /// `!reset`: reset this connection.
    Reset,
    /// `!close`: close this connection politely.
    Close,
    /// A line beyond [`LINE_MAX`].
    TooLong,
}

/// Cuts a stream into requests; holds at most one unfinished line.
#[derive(Debug, Default)]
pub struct Lines {
    unfinished: Vec<u8>,
}

impl Lines {
    /// Takes the next bytes and tells each request they complete, in order.
    ///
    /// Stops after the first [`Request::TooLong`]: nothing after it can be understood.
    pub fn feed(&mut self, mut bytes: &[u8], mut tell: impl FnMut(Request)) {
        while let Some(end) = bytes.iter().position(|&byte| byte == b'\n') {
            let (line, rest) = bytes.split_at(end);
            bytes = rest.get(1..).unwrap_or_default();
            if self.unfinished.len() + line.len() > LINE_MAX {
                return self.overflow(&mut tell);
            }
            self.unfinished.extend_from_slice(line);
            tell(understand(&self.unfinished));
            self.unfinished.clear();
        }
        if self.unfinished.len() + bytes.len() > LINE_MAX {
            return self.overflow(&mut tell);
        }
        self.unfinished.extend_from_slice(bytes);
    }

    fn overflow(&mut self, tell: &mut impl FnMut(Request)) {
        self.unfinished.clear();
        tell(Request::TooLong);
    }
}

fn understand(line: &[u8]) -> Request {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match line {
        b"!sink" => Request::Sink,
        b"!reset" => Request::Reset,
        b"!close" => Request::Close,
        _ => count_of_bytes(line).map_or_else(|| Request::Line(line.to_vec()), Request::Bytes),
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

    fn whole(bytes: &[u8]) -> Vec<Request> {
        let mut requests = Vec::new();
        Lines::default().feed(bytes, |request| requests.push(request));
        requests
    }

    #[test]
    fn commands_are_told_from_lines() {
        let asked = whole(b"hello\n!bytes 12\r\n!bytes x\n!sink\n!reset\n!close\n\nunfinished");
        let expected = [
            Request::Line(b"hello".to_vec()),
            Request::Bytes(12),
            Request::Line(b"!bytes x".to_vec()),
            Request::Sink,
            Request::Reset,
            Request::Close,
            Request::Line(Vec::new()),
        ];
        assert_eq!(asked, expected);
    }

    #[test]
    fn a_line_without_end_is_refused_and_not_kept() {
        let mut lines = Lines::default();
        let mut told = Vec::new();
        for _ in 0..=LINE_MAX / 1024 {
            lines.feed(&[b'x'; 1024], |request| told.push(request));
        }
        assert_eq!(told, [Request::TooLong]);
        assert!(lines.unfinished.capacity() <= 2 * LINE_MAX);
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
            let mut lines = Lines::default();
            let mut chopped = Vec::new();
            let (mut rest, mut cuts) = (text.as_slice(), cuts.into_iter().cycle());
            while !rest.is_empty() {
                let cut = cuts.next().unwrap_or(1).min(rest.len());
                lines.feed(&rest[..cut], |request| chopped.push(request));
                rest = &rest[cut..];
            }
            prop_assert_eq!(chopped, whole(&text));
        }
    }
}
