//! What is whitespace, a token and a number in SIP: RFC 3261, section 25.1.

/// Bytes that only separate: a fold is a line end and the whitespace behind it.
const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// Whether `byte` may stand in a token.
pub(super) const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~'
        )
}

/// Without the space around it, folds included.
pub(super) fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = bytes
        && is_space(*first)
    {
        bytes = rest;
    }
    while let [rest @ .., last] = bytes
        && is_space(*last)
    {
        bytes = rest;
    }
    bytes
}

/// The first word, and what follows it.
pub(super) fn word(bytes: &[u8]) -> (&[u8], &[u8]) {
    let bytes = trim(bytes);
    let end = bytes.iter().position(|byte| is_space(*byte));
    let (word, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
    (word, trim(rest))
}

/// The last word, and what stands before it.
pub(super) fn last_word(bytes: &[u8]) -> (&[u8], &[u8]) {
    let bytes = trim(bytes);
    let end = bytes.iter().rposition(|byte| is_space(*byte));
    let (before, word) = bytes.split_at(end.map_or(0, |end| end + 1));
    (trim(before), word)
}

/// A token and nothing beside it.
pub(super) fn token(bytes: &[u8]) -> Option<&str> {
    let is_one = !bytes.is_empty() && bytes.iter().all(|byte| is_token(*byte));
    let text = std::str::from_utf8(bytes).ok();
    text.filter(|_| is_one)
}

/// Digits and nothing beside them; the inner `None`: more than the type holds.
pub(super) fn number(bytes: &[u8]) -> Option<Option<u64>> {
    if bytes.is_empty() || !bytes.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let add = |sum: u64, digit: &u8| sum.checked_mul(10)?.checked_add(u64::from(digit - b'0'));
    Some(bytes.iter().try_fold(0, add))
}

/// Where the first of `wanted` stands that is not within quotes.
pub(super) fn find_unquoted(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    bytes.iter().position(|byte| {
        if is_escaped {
            is_escaped = false;
            return false;
        }
        is_escaped = is_quoted && *byte == b'\\';
        if *byte == b'"' {
            is_quoted = !is_quoted;
        }
        !is_quoted && wanted.contains(byte)
    })
}

/// What stands before the first of `wanted` outside quotes, and what stands behind it.
pub(super) fn split_unquoted<'a>(bytes: &'a [u8], wanted: &[u8]) -> (&'a [u8], Option<&'a [u8]>) {
    match find_unquoted(bytes, wanted) {
        Some(at) => {
            let (before, behind) = bytes.split_at(at);
            (before, behind.get(1..))
        }
        None => (bytes, None),
    }
}

/// The value of the parameter `name` in `parameters`, which begin behind a semicolon; without quotes.
pub(super) fn parameter<'a>(mut parameters: &'a [u8], name: &str) -> Option<&'a [u8]> {
    loop {
        let (parameter, rest) = split_unquoted(parameters, b";");
        let (own, value) = split_unquoted(parameter, b"=");
        if trim(own).eq_ignore_ascii_case(name.as_bytes()) {
            let value = trim(value?);
            return Some(
                value
                    .strip_prefix(b"\"")
                    .map_or(value, |value| value.strip_suffix(b"\"").unwrap_or(value)),
            );
        }
        parameters = rest?;
    }
}
