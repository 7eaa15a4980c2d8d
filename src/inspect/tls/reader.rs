//! A cursor over bytes that may end anywhere.

/// Takes values off the front; `None` once there is too little.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self, width: usize) -> Option<usize> {
        let bytes = self.take(width)?;
        Some(
            bytes
                .iter()
                .fold(0, |sum, byte| sum << 8 | usize::from(*byte)),
        )
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        let bytes = self.take(2)?;
        bytes.try_into().ok().map(u16::from_be_bytes)
    }

    /// A vector whose length stands before it in `width` bytes.
    pub(super) fn vector(&mut self, width: usize) -> Option<Self> {
        let length = self.number(width)?;
        self.take(length).map(Self)
    }

    /// All that is left, as numbers of two bytes; a single byte at the end is left out.
    pub(super) fn numbers(self) -> impl Iterator<Item = u16> + 'a {
        self.0
            .chunks_exact(2)
            .map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
    }

    pub(super) fn rest(self) -> &'a [u8] {
        self.0
    }
}
