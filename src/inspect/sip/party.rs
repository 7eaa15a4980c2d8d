//! The values of From, To and Via.

use super::text::{find_unquoted, parameter, split_unquoted, trim, word};

/// A From or To: RFC 3261, sections 20.20 and 20.39.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Party<'a> {
    /// Its address, whatever the scheme is.
    pub uri: &'a [u8],
    parameters: &'a [u8],
}

impl<'a> Party<'a> {
    pub(super) fn read(value: &'a [u8]) -> Self {
        if let Some(at) = find_unquoted(value, b"<") {
            let rest = value.get(at + 1..).unwrap_or_default();
            let end = rest
                .iter()
                .position(|byte| *byte == b'>')
                .unwrap_or(rest.len());
            let (uri, behind) = rest.split_at(end);
            let (_, parameters) = split_unquoted(behind, b";");
            return Self {
                uri: trim(uri),
                parameters: parameters.unwrap_or_default(),
            };
        }
        // Without brackets what follows a semicolon is the header's: RFC 3261, section 20.10.
        let (uri, parameters) = split_unquoted(value, b";");
        Self {
            uri: trim(uri),
            parameters: parameters.unwrap_or_default(),
        }
    }

    /// By what its dialog knows it.
    #[must_use]
    pub fn tag(&self) -> Option<&'a [u8]> {
        parameter(self.parameters, "tag").filter(|tag| !tag.is_empty())
    }

    /// The host of its address, without port: the domain. `None` where the address has none, such as `tel:`.
    #[must_use]
    pub fn host(&self) -> Option<&'a str> {
        let colon = self.uri.iter().position(|byte| *byte == b':')?;
        let (scheme, rest) = self.uri.split_at(colon);
        let is_sip = [b"sip".as_slice(), b"sips"]
            .iter()
            .any(|sip| scheme.eq_ignore_ascii_case(sip));
        let rest = rest.get(1..).filter(|_| is_sip)?;
        // A user may hold any of what ends a host; an @ it may not.
        let user = rest.iter().rposition(|byte| *byte == b'@');
        let host = rest.get(user.map_or(0, |at| at + 1)..)?;
        let is_v6 = host.starts_with(b"[");
        let end = host.iter().position(|byte| match byte {
            b']' => is_v6,
            b':' => !is_v6,
            byte => matches!(byte, b';' | b'?' | b'>') || byte.is_ascii_whitespace(),
        });
        let end = end.map_or(host.len(), |end| {
            end + usize::from(is_v6 && host.get(end) == Some(&b']'))
        });
        let host = std::str::from_utf8(host.get(..end)?).ok()?;
        let may_be = |byte: u8| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b':' | b'[' | b']')
        };
        (!host.is_empty() && host.bytes().all(may_be)).then_some(host)
    }
}

/// One Via: RFC 3261, section 20.42.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Via<'a> {
    /// Who has sent it: a host, and perhaps a port.
    pub sent_by: &'a [u8],
    parameters: &'a [u8],
}

impl<'a> Via<'a> {
    /// The first of those that stand in one header.
    pub(super) fn top(value: &'a [u8]) -> Self {
        let (first, _) = split_unquoted(value, b",");
        let (sent, parameters) = split_unquoted(first, b";");
        // Space may stand around each slash of `SIP / 2.0 / TCP`.
        let mut parts = sent.splitn(3, |byte| *byte == b'/');
        let transport_and_host = parts.nth(2).unwrap_or_default();
        let (_, sent_by) = word(transport_and_host);
        Self {
            sent_by,
            parameters: parameters.unwrap_or_default(),
        }
    }

    /// By what its request is known: RFC 3261, section 8.1.1.7.
    #[must_use]
    pub fn branch(&self) -> Option<&'a [u8]> {
        parameter(self.parameters, "branch").filter(|branch| !branch.is_empty())
    }
}
