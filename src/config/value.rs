//! One value of the file → one typed value, or a diagnostic that says what was expected.
//!
//! Owns the readers that [`crate::config::table::Table`] is given; each is a plain function from an
//! [`Item`]. A list keeps its good entries when others are bad, so that later checks see them.

mod address;

pub(super) use self::address::{address, dns_server, node_address, plain_socket, prefix, socket};

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use crate::config::diagnostics::{Diagnostic, Findings};
use crate::config::model::{Flap, Rate};
use crate::config::quantity;
use crate::config::source::Span;
use crate::config::window::{Mistake, Window};

/// What a value should have been.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'w> {
    pub(super) what: &'w str,
    /// Empty where it goes without saying.
    pub(super) why: &'w str,
    pub(super) help: &'w str,
}

/// A key and its value.
#[derive(Clone, Copy)]
pub(super) struct Item<'a, 'd> {
    pub(super) key: &'a str,
    pub(super) value: &'a Spanned<DeValue<'d>>,
}

impl Item<'_, '_> {
    pub(super) fn span(&self) -> Span {
        self.value.span()
    }

    /// The value for a message: short, on one line, harmless to a terminal.
    pub(super) fn shown(&self) -> String {
        match self.value.get_ref() {
            DeValue::String(text) => show_text(text),
            DeValue::Integer(number) => number.to_string(),
            DeValue::Float(number) => number.to_string(),
            DeValue::Boolean(truth) => truth.to_string(),
            DeValue::Datetime(when) => when.to_string(),
            DeValue::Array(_) => "[…]".to_owned(),
            DeValue::Table(_) => "{…}".to_owned(),
        }
    }

    /// Says that the value is not what was wanted.
    fn refuse<T>(&self, findings: &Findings<'_>, wanted: Wanted<'_>) -> Option<T> {
        let title = format!("{} = {} is not {}", self.key, self.shown(), wanted.what);
        let diagnostic = Diagnostic::error(&self.span(), title).help(wanted.help);
        findings.push(match wanted.why {
            "" => diagnostic,
            why => diagnostic.why(why),
        });
        None
    }

    /// Reads the value as text through `read`.
    pub(super) fn parsed<T>(
        &self,
        findings: &Findings<'_>,
        wanted: Wanted<'_>,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let text = self.value.get_ref().as_str();
        text.and_then(read)
            .or_else(|| self.refuse(findings, wanted))
    }
}

/// `text` in quotes, shortened, without control characters.
pub(super) fn show_text(text: &str) -> String {
    let short: String = text.chars().take(60).collect();
    let dots = if short.len() < text.len() { "…" } else { "" };
    format!("\"{}{dots}\"", show_name(&short))
}

/// `name` without control characters and without what turns or hides text.
pub(super) fn show_name(name: &str) -> String {
    let shown = |c: char| match c {
        ' '..='~' => c.to_string(),
        other if other.is_alphanumeric() || other == '…' => other.to_string(),
        other => other.escape_unicode().to_string(),
    };
    name.chars().map(shown).collect()
}

/// The candidate nearest to `word`, if one is near enough to be meant.
pub(super) fn nearest<'c>(
    word: &str,
    candidates: impl Iterator<Item = &'c str>,
) -> Option<&'c str> {
    let allowed = (word.chars().count() / 3).clamp(1, 3);
    if word.len() > 100 {
        return None;
    }
    candidates
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|&(distance, _)| distance <= allowed)
        .min()
        .map(|(_, candidate)| candidate)
}

/// A question that names the candidate nearest to `word`, where one is near enough to be meant.
#[must_use]
pub fn did_you_mean<'c>(word: &str, candidates: impl Iterator<Item = &'c str>) -> Option<String> {
    let near = nearest(word, candidates)?;
    Some(format!("did you mean \"{near}\"?"))
}

pub(super) fn boolean(item: &Item<'_, '_>, findings: &Findings<'_>) -> Option<bool> {
    let wanted = Wanted {
        what: "true or false",
        why: "",
        help: "write true or false, without quotes",
    };
    let truth = item.value.get_ref().as_bool();
    truth.or_else(|| item.refuse(findings, wanted))
}

/// A whole number from `least` to `most`.
pub(super) fn integer<T: TryFrom<i64>>(
    least: i64,
    most: i64,
) -> impl Fn(&Item<'_, '_>, &Findings<'_>) -> Option<T> {
    move |item, findings| {
        let number = item.value.get_ref().as_integer();
        let number = number.and_then(|n| i64::from_str_radix(n.as_str(), n.radix()).ok());
        let inside = number.filter(|number| (least..=most).contains(number));
        inside
            .and_then(|number| T::try_from(number).ok())
            .or_else(|| {
                let wanted = Wanted {
                    what: &format!("a whole number from {least} to {most}"),
                    why: "",
                    help: "write the number without quotes",
                };
                item.refuse(findings, wanted)
            })
    }
}

/// One of a closed set of words.
pub(super) fn choice<T: Copy>(
    choices: &'static [(&'static str, T)],
) -> impl Fn(&Item<'_, '_>, &Findings<'_>) -> Option<T> {
    move |item, findings| {
        let words = || choices.iter().map(|&(word, _)| word);
        let all = words().collect::<Vec<_>>().join(" | ");
        let text = item.value.get_ref().as_str().unwrap_or("");
        let found = choices.iter().find(|&&(word, _)| word == text);
        found.map(|&(_, meaning)| meaning).or_else(|| {
            let help = match did_you_mean(text, words()) {
                Some(question) => format!("{question} it can be: {all}"),
                None => format!("write one of: {all}"),
            };
            let wanted = Wanted {
                what: "known",
                why: "",
                help: &help,
            };
            item.refuse(findings, wanted)
        })
    }
}

const DURATION: Wanted<'_> = Wanted {
    what: "a duration",
    why: "a number without a unit could be seconds or milliseconds",
    help: "write a whole number and a unit, at most a year: \"400ms\", \"30s\", \"10m\", \"2h\"",
};

/// A duration, zero included.
pub(super) fn duration(item: &Item<'_, '_>, findings: &Findings<'_>) -> Option<Duration> {
    item.parsed(findings, DURATION, quantity::duration)
}

/// A duration longer than nothing.
pub(super) fn positive(item: &Item<'_, '_>, findings: &Findings<'_>) -> Option<Duration> {
    let duration = duration(item, findings)?;
    if duration.is_zero() {
        let wanted = Wanted {
            what: "longer than nothing",
            why: "a wait of no time is over before anything can happen",
            ..DURATION
        };
        return item.refuse(findings, wanted);
    }
    Some(duration)
}

/// A positive duration, or `word` for `None`.
pub(super) fn positive_or(
    word: &'static str,
) -> impl Fn(&Item<'_, '_>, &Findings<'_>) -> Option<Option<Duration>> {
    move |item, findings| {
        if item.value.get_ref().as_str() == Some(word) {
            return Some(None);
        }
        let wanted = Wanted {
            what: &format!("a duration longer than nothing, or \"{word}\""),
            ..DURATION
        };
        let read = |text: &str| quantity::duration(text).filter(|duration| !duration.is_zero());
        item.parsed(findings, wanted, read).map(Some)
    }
}

/// A size from `least` to `most` bytes.
pub(super) fn bytes(least: u64, most: u64) -> impl Fn(&Item<'_, '_>, &Findings<'_>) -> Option<u64> {
    let show = quantity::show_bytes;
    move |item, findings| {
        let wanted = Wanted {
            what: &format!("a size from {} to {}", show(least), show(most)),
            why: "a number without a unit could be bytes or more",
            help: "write a whole number and a unit: \"256MiB\", \"5000KB\", \"1GiB\"",
        };
        let read = |text: &str| quantity::bytes(text).filter(|size| (least..=most).contains(size));
        item.parsed(findings, wanted, read)
    }
}

/// A rate, or `"off"` for `None`.
pub(super) fn rate_or_off(item: &Item<'_, '_>, findings: &Findings<'_>) -> Option<Option<Rate>> {
    let wanted = Wanted {
        what: "a rate or \"off\"",
        why: "a number without a unit could be for a second or a minute",
        help: "write a number and a unit: \"200/s\", \"30/m\"",
    };
    let read = |text: &str| match text {
        "off" => Some(None),
        other => quantity::rate(other).map(Some),
    };
    item.parsed(findings, wanted, read)
}

pub(super) fn percent(item: &Item<'_, '_>, findings: &Findings<'_>) -> Option<u8> {
    let wanted = Wanted {
        what: "a share from 1% to 100%",
        why: "",
        help: "write it in quotes: \"70%\"",
    };
    item.parsed(findings, wanted, quantity::percent)
}

/// A limit of flapping, or `"off"` for `None`.
pub(super) fn flap_or_off(item: &Item<'_, '_>, findings: &Findings<'_>) -> Option<Option<Flap>> {
    let wanted = Wanted {
        what: "a limit of flapping or \"off\"",
        why: "",
        help: "write \"3 in 10m, hold 5m\"",
    };
    let read = |text: &str| match text {
        "off" => Some(None),
        other => quantity::flap(other).map(Some),
    };
    item.parsed(findings, wanted, read)
}

pub(super) fn window(item: &Item<'_, '_>, findings: &Findings<'_>) -> Option<Window> {
    let text = item.value.get_ref().as_str().unwrap_or_default();
    if let Err(Mistake::Zone(zone)) = Window::parse(text) {
        let title = format!(
            "{} names the time zone {}, which this machine does not know",
            item.key,
            show_text(&zone)
        );
        let help = "write one of `timedatectl list-timezones`, or install the package tzdata";
        findings.push(Diagnostic::error(&item.span(), title).help(help));
        return None;
    }
    let wanted = Wanted {
        what: "a window of time",
        why: "",
        help: "write a day, a range and a time zone: \"Sat 02:00-05:00 Europe/Paris\"",
    };
    item.parsed(findings, wanted, |text| Window::parse(text).ok())
}

/// What is asked for by HTTP: it begins with a slash and has no space.
pub(super) fn url_path(item: &Item<'_, '_>, findings: &Findings<'_>) -> Option<String> {
    let wanted = Wanted {
        what: "a path",
        why: "",
        help: "write what follows the host in an address, with %20 for a space: \"/health\"",
    };
    let is_one =
        |text: &str| text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic());
    item.parsed(findings, wanted, |text| {
        is_one(text).then(|| text.to_owned())
    })
}

/// A code of HTTP, or a range of them.
pub(super) fn statuses(
    item: &Item<'_, '_>,
    findings: &Findings<'_>,
) -> Option<RangeInclusive<u16>> {
    let wanted = Wanted {
        what: "a code of HTTP or a range of them",
        why: "",
        help: "write \"200\", or the first and the last that are good: \"200-399\"",
    };
    let code = |text: &str| {
        let is_one = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
        let code: Option<u16> = text.parse().ok();
        code.filter(|code| is_one && (100..600).contains(code))
    };
    let read = |text: &str| {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let codes = code(first.trim())?..=code(last.trim())?;
        (!codes.is_empty()).then_some(codes)
    };
    item.parsed(findings, wanted, read)
}

/// Any text that is not empty.
pub(super) fn text(item: &Item<'_, '_>, findings: &Findings<'_>) -> Option<String> {
    let wanted = Wanted {
        what: "a text",
        why: "",
        help: "write something between the quotes",
    };
    let read = |text: &str| (!text.trim().is_empty()).then(|| text.to_owned());
    item.parsed(findings, wanted, read)
}

/// Any text.
pub(super) fn text_or_empty(item: &Item<'_, '_>, findings: &Findings<'_>) -> Option<String> {
    let wanted = Wanted {
        what: "a text",
        why: "",
        help: "write it in quotes",
    };
    item.parsed(findings, wanted, |text| Some(text.to_owned()))
}

/// A text that no message shows.
pub(super) fn secret(item: &Item<'_, '_>, findings: &Findings<'_>) -> Option<String> {
    let text = item
        .value
        .get_ref()
        .as_str()
        .filter(|text| !text.is_empty());
    if text.is_none() {
        let title = format!("{} is not a text of at least one character", item.key);
        let help = "write it in quotes; `openssl rand -hex 32` makes a good one";
        findings.push(Diagnostic::error(&item.span(), title).help(help));
    }
    text.map(ToOwned::to_owned)
}

/// A name that appears in commands, metrics and logs.
pub(super) fn name(item: &Item<'_, '_>, findings: &Findings<'_>) -> Option<String> {
    let wanted = Wanted {
        what: "a name",
        why: "names stand in commands, metrics and logs",
        help: "write 1 to 63 letters, digits, `-`, `_` or `.`, the first a letter or digit",
    };
    let legal = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let read = |text: &str| {
        let starts = text.starts_with(|c: char| c.is_ascii_alphanumeric());
        (starts && text.len() <= 63 && text.chars().all(legal)).then(|| text.to_owned())
    };
    item.parsed(findings, wanted, read)
}

/// The name of a network interface, which stands in rules of the host as it is.
pub(super) fn interface(item: &Item<'_, '_>, findings: &Findings<'_>) -> Option<String> {
    let wanted = Wanted {
        what: "the name of an interface",
        why: "",
        help: "write one of `ip link`: 1 to 15 letters, digits, `-`, `_`, `.` or `@`",
    };
    let legal = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
    let is_path = |text: &str| text.chars().all(|c| c == '.');
    let read = |text: &str| {
        let is_name = text.len() <= LONGEST_INTERFACE && text.chars().all(legal) && !is_path(text);
        is_name.then(|| text.to_owned())
    };
    item.parsed(findings, wanted, read)
}

/// `IFNAMSIZ`, without the zero at its end.
const LONGEST_INTERFACE: usize = 15;

/// A DNS name, in lower case and without a dot at its end.
pub(super) fn domain(item: &Item<'_, '_>, findings: &Findings<'_>) -> Option<String> {
    let wanted = Wanted {
        what: "a DNS name",
        why: "it is compared with names in certificates",
        help: "write a name such as \"sip.contoso.com\"",
    };
    item.parsed(findings, wanted, |text| {
        let name = text.strip_suffix('.').unwrap_or(text);
        let is_label = |label: &str| {
            let legal = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            (1..=63).contains(&label.len()) && label.chars().all(legal)
        };
        let is_name = name.len() <= 253 && name.split('.').all(is_label);
        (is_name && name.parse::<IpAddr>().is_err()).then(|| name.to_ascii_lowercase())
    })
}

pub(super) fn path(item: &Item<'_, '_>, findings: &Findings<'_>) -> Option<PathBuf> {
    let wanted = Wanted {
        what: "a path",
        why: "",
        help: "write it in quotes, beginning with /",
    };
    let read = |text: &str| (!text.is_empty() && !text.contains('\0')).then(|| text.into());
    item.parsed(findings, wanted, read)
}

/// A list, or one entry without brackets; entries that are wrong are reported and left out.
pub(super) fn list<T>(
    read: impl Fn(&Item<'_, '_>, &Findings<'_>) -> Option<T>,
) -> impl Fn(&Item<'_, '_>, &Findings<'_>) -> Option<Vec<Spanned<T>>> {
    move |item, findings| {
        let read_one = |value| {
            let entry = Item {
                key: item.key,
                value,
            };
            read(&entry, findings).map(|read| Spanned::new(value.span(), read))
        };
        Some(match item.value.get_ref().as_array() {
            Some(entries) => entries.iter().filter_map(read_one).collect(),
            None => read_one(item.value).into_iter().collect(),
        })
    }
}

/// A list with at least one entry.
pub(super) fn at_least_one<T>(
    read: impl Fn(&Item<'_, '_>, &Findings<'_>) -> Option<T>,
) -> impl Fn(&Item<'_, '_>, &Findings<'_>) -> Option<Vec<Spanned<T>>> {
    let read = list(read);
    move |item, findings| {
        let wanted = Wanted {
            what: "a list with an entry",
            why: "",
            help: "write at least one entry between the brackets",
        };
        match item.value.get_ref().as_array() {
            Some(entries) if entries.is_empty() => item.refuse(findings, wanted),
            _ => read(item, findings),
        }
    }
}

/// The values of a list, without their places.
pub(super) fn values<T>(list: Vec<Spanned<T>>) -> Vec<T> {
    list.into_iter().map(Spanned::into_inner).collect()
}

/// The places of a list's values.
pub(super) fn spans<T>(list: &[Spanned<T>]) -> Vec<Span> {
    list.iter().map(Spanned::span).collect()
}
