//! Reading one table of the file: each key is taken once, what is left over is unknown.
//!
//! Owns the walk and the complaint about a key that does not belong. The keys that a table knows
//! are exactly those that its reader takes, so they are written once; [`crate::config::schema`]
//! enumerates them by running the readers. Every key must be taken whatever the others say.

use std::collections::BTreeMap;
use std::fmt::Display;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::diagnostics::{Diagnostic, Findings};
use crate::config::schema::{self, Section};
use crate::config::source::Span;
use crate::config::value::{Item, nearest, show_name, show_text};

/// A table being read.
pub(super) struct Table<'a, 'd> {
    pub(super) section: Section,
    pub(super) findings: &'a Findings<'a>,
    /// Its header; where the table is absent, that of the table around it.
    header: Span,
    entries: Option<&'a DeTable<'d>>,
    around: Option<Around>,
    places: Places,
    /// The keys that were asked for, set or not.
    known: Vec<&'static str>,
}

/// The table around another.
#[derive(Clone)]
struct Around {
    /// `[[pool]] "edge"`.
    label: String,
    /// `pool "edge"`.
    subject: String,
    /// Header of the first table inside it under the same key.
    first: Span,
}

/// Where the keys of a table stand.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    header: Span,
    values: BTreeMap<&'static str, Span>,
}

impl Places {
    /// The header of the table.
    pub(super) fn header(&self) -> Span {
        self.header.clone()
    }

    /// Whether the file sets `key`.
    pub(super) fn sets(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    /// The value of `key`, or the header where the file does not set it.
    pub(super) fn value(&self, key: &str) -> Span {
        self.values
            .get(key)
            .cloned()
            .unwrap_or_else(|| self.header())
    }
}

impl<'a, 'd> Table<'a, 'd> {
    /// The whole document.
    pub(super) fn root(entries: &'a DeTable<'d>, findings: &'a Findings<'a>) -> Self {
        Self {
            section: Section::Root,
            findings,
            header: 0..0,
            entries: Some(entries),
            around: None,
            places: Places::default(),
            known: Vec::new(),
        }
    }

    /// Whether the file has this table.
    pub(super) fn is_present(&self) -> bool {
        self.entries.is_some()
    }

    /// Its header, or that of the table around it.
    pub(super) fn header(&self) -> &Span {
        &self.header
    }

    /// `[[pool.node]] "edge1"`.
    pub(super) fn label(&self) -> String {
        let name = self.entries.and_then(|entries| entries.get("name"));
        let text = name.and_then(|name| name.get_ref().as_str());
        match text {
            Some(text) => format!("{} {}", self.section.header(), show_text(text)),
            None => self.section.header().to_owned(),
        }
    }

    /// The value of `key`, or `default` where it is absent or wrong.
    pub(super) fn take<T>(
        &mut self,
        key: &'static str,
        read: impl Fn(&Item<'_, '_>, &Findings<'_>) -> Option<T>,
        default: T,
    ) -> T {
        self.take_optional(key, read).unwrap_or(default)
    }

    /// The value of `key`, if it is there and right.
    pub(super) fn take_optional<T>(
        &mut self,
        key: &'static str,
        read: impl Fn(&Item<'_, '_>, &Findings<'_>) -> Option<T>,
    ) -> Option<T> {
        let item = self.item(key)?;
        read(&item, self.findings)
    }

    /// The value of `key`, whose absence is a mistake that `help` tells how to mend.
    pub(super) fn take_required<T>(
        &mut self,
        key: &'static str,
        read: impl Fn(&Item<'_, '_>, &Findings<'_>) -> Option<T>,
        help: &str,
    ) -> Option<T> {
        let value = self.take_optional(key, read);
        if !self.places.sets(key) && self.is_present() {
            let label = self.label();
            let owner = if label.is_empty() { "the file" } else { &label };
            let title = format!("{owner} has no `{key}`");
            self.error(Diagnostic::error(&self.header, title).help(help));
        }
        value
    }

    /// Reads a key whose machinery does not exist in this version: anything but `default` is noted.
    pub(super) fn take_later<T: PartialEq>(
        &mut self,
        key: &'static str,
        read: impl Fn(&Item<'_, '_>, &Findings<'_>) -> Option<T>,
        default: &T,
    ) {
        let value = self.take_optional(key, read);
        if value.is_some_and(|value| value != *default) {
            self.unavailable(key);
        }
    }

    /// Notes that the value of `key`, which the file sets, asks for what this version cannot do.
    pub(super) fn unavailable(&self, key: &'static str) {
        if let Some((_, value)) = self.entries.and_then(|entries| entries.get_key_value(key)) {
            let shown = Item { key, value }.shown();
            let what = match self.subject().as_str() {
                "" => format!("{key} = {shown}"),
                subject => format!("{subject}: {key} = {shown}"),
            };
            self.findings.unavailable(&value.span(), what);
        }
    }

    /// `listener "av-udp"`, for [`crate::config::model::Unavailable`]; with the tables inside it,
    /// `listener "web": tls`.
    pub(super) fn subject(&self) -> String {
        let own = self.label().replace(['[', ']'], "");
        let outer = self.around.as_ref().map_or("", |around| &around.subject);
        match outer {
            "" => own,
            outer => {
                let inner = own
                    .rsplit_once('.')
                    .map_or(own.as_str(), |(_, inner)| inner);
                format!("{outer}: {inner}")
            }
        }
    }

    /// The table under `key`; an absent one where there is none.
    pub(super) fn table(&mut self, key: &'static str, section: Section) -> Self {
        let value = self.item(key).map(|item| item.value);
        let inside = value.and_then(|value| self.as_table(value, section));
        let header = value.map_or_else(|| self.header.clone(), Spanned::span);
        self.inside(section, header.clone(), inside, &header)
    }

    /// The tables under `key`.
    pub(super) fn tables(&mut self, key: &'static str, section: Section) -> Vec<Self> {
        let Some(value) = self.item(key).map(|item| item.value) else {
            return Vec::new();
        };
        let DeValue::Array(entries) = value.get_ref() else {
            let title = format!("`{key}` is not a list of tables");
            let help = format!("write {} above each of them", section.header());
            self.error(Diagnostic::error(&value.span(), title).help(help));
            return Vec::new();
        };
        let first = entries
            .iter()
            .next()
            .map_or_else(|| value.span(), Spanned::span);
        let read_one = |entry: &'a Spanned<DeValue<'d>>| {
            let inside = self.as_table(entry, section)?;
            Some(self.inside(section, entry.span(), Some(inside), &first))
        };
        entries.iter().filter_map(read_one).collect()
    }

    /// Reports the keys that nobody took.
    pub(super) fn finish(mut self) -> Places {
        self.findings.knows(self.section, &self.known);
        for (key, value) in self.entries.into_iter().flatten() {
            if !self.known.contains(&key.get_ref().as_ref()) {
                self.error(self.unknown(key.get_ref(), &key.span(), value));
            }
        }
        self.places.header = self.header;
        self.places
    }

    /// Whether the file sets `key`, which was taken.
    pub(super) fn sets(&self, key: &str) -> bool {
        self.places.sets(key)
    }

    /// The value of `key`, which was taken, or the header where the file does not set it.
    pub(super) fn span_of(&self, key: &str) -> Span {
        match self.places.sets(key) {
            true => self.places.value(key),
            false => self.header.clone(),
        }
    }

    pub(super) fn error(&self, diagnostic: Diagnostic) {
        self.findings.push(diagnostic);
    }

    /// The value of `key` as it stands.
    fn item(&mut self, key: &'static str) -> Option<Item<'a, 'd>> {
        self.known.push(key);
        let value = self.entries?.get(key)?;
        self.places.values.insert(key, value.span());
        Some(Item { key, value })
    }

    fn as_table(
        &self,
        value: &'a Spanned<DeValue<'d>>,
        section: Section,
    ) -> Option<&'a DeTable<'d>> {
        let table = value.get_ref().as_table();
        if table.is_none() {
            let title = format!("{} must be a table", section.header());
            let help = match section.is_list() {
                true => format!("write {} with double brackets above each", section.header()),
                false => format!("write it under its header {}", section.header()),
            };
            self.error(Diagnostic::error(&value.span(), title).help(help));
        }
        table
    }

    fn inside(
        &self,
        section: Section,
        header: Span,
        entries: Option<&'a DeTable<'d>>,
        first: &Span,
    ) -> Self {
        Self {
            section,
            findings: self.findings,
            header,
            entries,
            around: Some(Around {
                label: self.label(),
                subject: self.subject(),
                first: first.clone(),
            }),
            places: Places::default(),
            known: Vec::new(),
        }
    }

    /// What to say of a key that this table does not have.
    fn unknown(&self, key: &str, span: &Span, value: &Spanned<DeValue<'d>>) -> Diagnostic {
        let shown = show_name(key);
        let here = self.label();
        if self.section.is_around(key, schema::knows) {
            return self.misplaced_inside(&shown, span);
        }
        if let Some(inner) = self.section.inner(key, schema::knows) {
            let title = format!(
                "`{shown}` stands in {} and belongs to {}",
                named(&here),
                inner.header()
            );
            let help = format!("move it below a line {}", inner.header());
            return Diagnostic::error(span, title).help(help);
        }
        let known = self.known.iter().copied();
        let place = match here.as_str() {
            "" => "at the top of the file".to_owned(),
            header => format!("in {header}"),
        };
        let title = format!("unknown key `{shown}` {place}");
        let diagnostic = Diagnostic::error(span, title)
            .why("it would have no effect, and what was meant by it would be missing");
        if let Some(near) = nearest(key, known) {
            return diagnostic.help(format!("did you mean `{near}`?"));
        }
        if let Some(other) = self.section.elsewhere(key, schema::knows) {
            return diagnostic.help(format!("it belongs to {}", named(other.header())));
        }
        if let Some((other, near)) = schema::nearest(key) {
            return diagnostic.help(format!(
                "did you mean `{near}` of {}?",
                named(other.header())
            ));
        }
        let is_table = value.get_ref().is_table() || value.get_ref().is_array();
        match is_table {
            true => diagnostic.help("remove it"),
            false => diagnostic.help(format!("{} knows: {}", named(&here), self.known_words())),
        }
    }

    /// In TOML a key after `[[pool.node]]` belongs to the node, whatever was meant.
    fn misplaced_inside(&self, key: &str, span: &Span) -> Diagnostic {
        let line = |span: &Span| self.findings.source.position(span.start).line;
        let (owner, above) = match &self.around {
            Some(around) if self.section.parent().is_some_and(|p| schema::knows(p, key)) => {
                let first = if self.section.is_list() {
                    "the first "
                } else {
                    ""
                };
                let header = self.section.header();
                let above = format!("line {}, {first}{header}", line(&around.first));
                (around.label.clone(), above)
            }
            _ => (String::new(), "the first header of the file".to_owned()),
        };
        let title = format!(
            "`{key}` stands in {} and belongs to {}",
            self.label(),
            named(&owner)
        );
        let why = format!(
            "in TOML a key belongs to the last table header above it, here {} in line {}",
            self.section.header(),
            line(&self.header)
        );
        Diagnostic::error(span, title)
            .why(why)
            .help(format!("move it above {above}"))
    }

    fn known_words(&self) -> impl Display {
        let mut words = self.known.clone();
        words.sort_unstable();
        words.join(", ")
    }
}

/// The name of a table for a sentence; the root has none in TOML.
fn named(header: &str) -> &str {
    match header {
        "" => "the top of the file",
        other => other,
    }
}
