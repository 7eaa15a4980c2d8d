//! What is wrong with a configuration: every mistake with its place, why it matters and what to
//! write instead.
//!
//! Owns collecting and rendering; knows nothing of what is checked. Text is lower case, quotes the
//! value and ends without a stop. A line that may hold a secret is never quoted.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use crate::config::model::Unavailable;
use crate::config::schema::Section;
use crate::config::source::{Source, Span};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The file cannot be used.
    Error,
    /// The file can be used; the administrator should know.
    Warning,
}

/// One mistake, or one thing to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// Where; `None`: the file as a whole.
    pub span: Option<Span>,
    /// What.
    pub title: String,
    /// Why it matters.
    pub why: Option<String>,
    /// What to write instead.
    pub help: Option<String>,
}

impl Diagnostic {
    /// A mistake at `span`.
    #[must_use]
    pub fn error(span: &Span, title: impl Into<String>) -> Self {
        Self::new(Severity::Error, Some(span.clone()), title.into())
    }

    /// Something to know at `span`.
    #[must_use]
    pub fn warning(span: &Span, title: impl Into<String>) -> Self {
        Self::new(Severity::Warning, Some(span.clone()), title.into())
    }

    /// A mistake of the file as a whole.
    #[must_use]
    pub fn error_of_file(title: impl Into<String>) -> Self {
        Self::new(Severity::Error, None, title.into())
    }

    fn new(severity: Severity, span: Option<Span>, title: String) -> Self {
        Self {
            severity,
            span,
            title,
            why: None,
            help: None,
        }
    }

    /// Adds why it matters.
    #[must_use]
    pub fn why(mut self, text: impl Into<String>) -> Self {
        self.why = Some(text.into());
        self
    }

    /// Adds what to write instead.
    #[must_use]
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help = Some(text.into());
        self
    }
}

/// Whether rendered text has colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// For files, pipes and logs.
    Plain,
    /// For terminals.
    Coloured,
}

/// Diagnostics of one file, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostics {
    source: Source,
    list: Vec<Diagnostic>,
}

impl Diagnostics {
    /// `list`, found in `source`.
    #[must_use]
    pub fn new(source: Source, mut list: Vec<Diagnostic>) -> Self {
        let start = |each: &Diagnostic| each.span.as_ref().map_or(usize::MAX, |span| span.start);
        let key = |each: &Diagnostic| (start(each), each.severity);
        list.sort_by(|a, b| key(a).cmp(&key(b)).then_with(|| a.title.cmp(&b.title)));
        // Two listeners may meet the same mistake of one node.
        list.dedup();
        Self { source, list }
    }

    /// Whether there is nothing to say.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Each of them.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.list.iter()
    }

    /// How many there are of `severity`.
    #[must_use]
    pub fn count(&self, severity: Severity) -> usize {
        let of_severity = |each: &&Diagnostic| each.severity == severity;
        self.list.iter().filter(of_severity).count()
    }

    /// Whether the file cannot be used.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.count(Severity::Error) > 0
    }

    /// Adds those of `more`, which were found in the same file.
    pub fn extend(&mut self, more: Self) {
        self.list.extend(more.list);
        *self = Self::new(
            std::mem::take(&mut self.source),
            std::mem::take(&mut self.list),
        );
    }

    /// `3 errors, 2 warnings`.
    #[must_use]
    pub fn summary(&self) -> String {
        let counted = |severity, noun: &str| match self.count(severity) {
            0 => None,
            1 => Some(format!("1 {noun}")),
            many => Some(format!("{many} {noun}s")),
        };
        let parts: Vec<String> = [
            counted(Severity::Error, "error"),
            counted(Severity::Warning, "warning"),
        ]
        .into_iter()
        .flatten()
        .collect();
        if parts.is_empty() {
            "no errors, no warnings".to_owned()
        } else {
            parts.join(", ")
        }
    }

    /// One line each, for logs: `file:line:column: text`; help follows a semicolon.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.list.iter().map(|each| self.line(each)).collect()
    }

    /// The lines of the errors alone.
    #[must_use]
    pub fn error_lines(&self) -> Vec<String> {
        let errors = self
            .list
            .iter()
            .filter(|each| each.severity == Severity::Error);
        errors.map(|each| self.line(each)).collect()
    }

    fn line(&self, each: &Diagnostic) -> String {
        let place = self.source.place(each.span.as_ref());
        match &each.help {
            Some(help) => format!("{place}: {}; help: {help}", each.title),
            None => format!("{place}: {}", each.title),
        }
    }

    /// The whole report for people: every diagnostic with its text, then the total.
    #[must_use]
    pub fn render(&self, style: Style) -> String {
        let renderer = match style {
            Style::Plain => Renderer::plain(),
            Style::Coloured => Renderer::styled(),
        };
        let mut report = String::new();
        for each in &self.list {
            report.push_str(&self.render_one(each, &renderer));
            report.push_str("\n\n");
        }
        report.push_str(&self.summary());
        report.push('\n');
        report
    }

    fn render_one(&self, each: &Diagnostic, renderer: &Renderer) -> String {
        let level = match each.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let place = self.source.place(each.span.as_ref());
        let mut group = Group::with_title(level.primary_title(format!("{place}: {}", each.title)));
        if let Some(span) = &each.span {
            let (line, inside) = self.source.excerpt(span);
            if !may_hold_secret(line) {
                let number = self.source.position(span.start).line;
                group = group.element(
                    Snippet::source(line)
                        .line_start(number)
                        .annotation(AnnotationKind::Primary.span(inside)),
                );
            }
        }
        let why = each.why.as_deref();
        let help = each.help.as_deref();
        group = group.elements(why.map(|text| Level::NOTE.with_name("why").message(text)));
        group = group.elements(help.map(|text| Level::HELP.message(text)));
        renderer.render(&[group])
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in self.lines() {
            writeln!(formatter, "{line}")?;
        }
        formatter.write_str(&self.summary())
    }
}

impl std::error::Error for Diagnostics {}

/// What a walk over one file finds.
pub(super) struct Findings<'s> {
    pub(super) source: &'s Source,
    list: RefCell<Vec<Diagnostic>>,
    unavailable: RefCell<Vec<(usize, Unavailable)>>,
    known: RefCell<BTreeMap<Section, Vec<&'static str>>>,
    files: RefCell<BTreeSet<PathBuf>>,
}

impl<'s> Findings<'s> {
    pub(super) fn new(source: &'s Source) -> Self {
        Self {
            source,
            list: RefCell::default(),
            unavailable: RefCell::default(),
            known: RefCell::default(),
            files: RefCell::default(),
        }
    }

    pub(super) fn push(&self, diagnostic: Diagnostic) {
        self.list.borrow_mut().push(diagnostic);
    }

    /// Notes that the file asks at `span` for what this version cannot do.
    pub(super) fn unavailable(&self, span: &Span, what: String) {
        let place = self.source.place(Some(span));
        let found = (span.start, Unavailable { place, what });
        self.unavailable.borrow_mut().push(found);
    }

    /// Notes the keys of a kind of table; one table speaks for all of its kind.
    pub(super) fn knows(&self, section: Section, keys: &[&'static str]) {
        let mut known = self.known.borrow_mut();
        known.entry(section).or_insert_with(|| {
            let mut sorted = keys.to_vec();
            sorted.sort_unstable();
            sorted
        });
    }

    /// Notes a file that is read because the configuration names it.
    pub(super) fn reads(&self, file: &Path) {
        self.files.borrow_mut().insert(file.into());
    }

    /// The files that were noted so far.
    pub(super) fn files(&self) -> BTreeSet<PathBuf> {
        self.files.borrow().clone()
    }

    pub(super) fn into_known(self) -> BTreeMap<Section, Vec<&'static str>> {
        self.known.into_inner()
    }

    /// Everything found; what is unavailable stands in the order of the file.
    pub(super) fn into_parts(self) -> (Vec<Diagnostic>, Vec<Unavailable>) {
        let mut unavailable = self.unavailable.into_inner();
        unavailable.sort_by_key(|&(start, _)| start);
        let unavailable = unavailable.into_iter().map(|(_, each)| each);
        (self.list.into_inner(), unavailable.collect())
    }
}

/// Whether `line` sets the placement key, perhaps misspelt.
fn may_hold_secret(line: &str) -> bool {
    line.split('=').any(|part| {
        let word = part
            .trim()
            .rsplit(['.', '{', ',', ' ', '"'])
            .next()
            .unwrap_or("");
        word.len() <= 40 && strsim::damerau_levenshtein(word, "placement_key") <= 4
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_shows_the_text_the_reason_the_help_and_the_total() {
        let source = Source::new("a.toml", "x = 1\nintervall = \"2s\"\n");
        let list = vec![
            Diagnostic::warning(&(0..1), "x is old"),
            Diagnostic::error(&(6..15), "unknown key `intervall`")
                .why("it would be ignored")
                .help("did you mean `interval`?"),
        ];
        let diagnostics = Diagnostics::new(source, list);
        let expected = "\
warning: a.toml:1:1: x is old
  |
1 | x = 1
  | ^

error: a.toml:2:1: unknown key `intervall`
  |
2 | intervall = \"2s\"
  | ^^^^^^^^^
  |
  = why: it would be ignored
  = help: did you mean `interval`?

1 error, 1 warning
";
        assert_eq!(diagnostics.render(Style::Plain), expected);
        assert!(diagnostics.render(Style::Coloured).contains('\u{1b}'));
        assert_eq!(
            diagnostics.to_string(),
            "a.toml:1:1: x is old\n\
             a.toml:2:1: unknown key `intervall`; help: did you mean `interval`?\n\
             1 error, 1 warning"
        );
    }

    #[test]
    fn a_line_with_the_placement_key_is_not_quoted() {
        for line in [
            "placement_key = 12",
            "placment_key = \"x\"",
            "server = { placement_key = 1 }",
        ] {
            let source = Source::new("a.toml", line);
            let list = vec![Diagnostic::error(&(0..3), "wrong")];
            let report = Diagnostics::new(source, list).render(Style::Plain);
            assert_eq!(report, "error: a.toml:1:1: wrong\n\n1 error\n", "{line}");
        }
        assert!(!may_hold_secret("key = \"/etc/pinfold/a.key\""));
    }
}
