//! The text of a configuration, and where in it something stands.
//!
//! Owns the translation of byte offsets into files, lines and columns. The text of included files
//! follows that of the file which includes them, so that one offset names one place. Knows nothing of
//! TOML.

use std::ops::Range;

/// A stretch of the text, in bytes.
pub type Span = Range<usize>;

/// A configuration as it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    text: String,
    /// Offset of the first byte of each line.
    lines: Vec<usize>,
    /// Never empty; the including file comes first.
    files: Vec<File>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct File {
    name: String,
    /// Number of its first line among all, from 0.
    first_line: usize,
}

/// A place for people: both count from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Line.
    pub line: usize,
    /// Column.
    pub column: usize,
}

impl Source {
    /// The file `name` with its `text`.
    #[must_use]
    pub fn new(name: &str, text: &str) -> Self {
        let mut source = Self::default();
        source.add(name, text);
        source
    }

    /// Adds an included file; answers the offset of its first byte.
    pub(super) fn add(&mut self, name: &str, text: &str) -> usize {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        let start = self.text.len();
        self.files.push(File {
            name: name.to_owned(),
            first_line: self.lines.len(),
        });
        self.text.push_str(text);
        let breaks = text.match_indices('\n');
        let begins = breaks.map(|(offset, _)| start + offset + 1);
        self.lines.extend(std::iter::once(start).chain(begins));
        start
    }

    /// The name of the file in which an offset lies, as it was given.
    #[must_use]
    pub fn name(&self, offset: usize) -> &str {
        self.file(self.line(offset)).map_or("", |file| &file.name)
    }

    /// The whole text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Line and column of a byte in its file; an offset behind the end is the end.
    #[must_use]
    pub fn position(&self, offset: usize) -> Position {
        let offset = self.boundary(offset);
        let line = self.line(offset);
        let start = self.lines.get(line).copied().unwrap_or(0);
        let before = self.text.get(start..offset).unwrap_or("");
        Position {
            line: line + 1 - self.file(line).map_or(0, |file| file.first_line),
            column: before.chars().count() + 1,
        }
    }

    /// `file:line:column`, or the including file alone where nothing more is known.
    #[must_use]
    pub fn place(&self, span: Option<&Span>) -> String {
        match span {
            Some(span) => {
                let Position { line, column } = self.position(span.start);
                format!("{}:{line}:{column}", self.name(span.start))
            }
            None => self.name(0).to_owned(),
        }
    }

    /// Where `span` stands, for a sentence about `from`: `line 12`, or with the file where that is another.
    pub(super) fn seen_from(&self, from: &Span, span: &Span) -> String {
        let line = self.position(span.start).line;
        match self.name(span.start) {
            own if own == self.name(from.start) => format!("line {line}"),
            other => format!("{other}, line {line}"),
        }
    }

    /// The first line that `span` touches, and the part of the span inside that line.
    #[must_use]
    pub fn excerpt(&self, span: &Span) -> (&str, Span) {
        let first = self.boundary(span.start);
        let start = self.lines.get(self.line(first)).copied().unwrap_or(0);
        let rest = self.text.get(start..).unwrap_or("");
        let text = rest.split('\n').next().unwrap_or("").trim_end_matches('\r');
        let from = (first - start).min(text.len());
        let to = self.boundary(span.end.max(first)) - start;
        (text, from..to.clamp(from, text.len()))
    }

    /// The number of the line in which a byte lies, among all files, from 0.
    fn line(&self, offset: usize) -> usize {
        let after = self.lines.partition_point(|&start| start <= offset);
        after.saturating_sub(1)
    }

    fn file(&self, line: usize) -> Option<&File> {
        let after = self.files.partition_point(|file| file.first_line <= line);
        self.files.get(after.saturating_sub(1))
    }

    /// The nearest boundary of a character at or before `offset`.
    fn boundary(&self, offset: usize) -> usize {
        self.text.floor_char_boundary(offset.min(self.text.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_lines_and_characters_from_one() {
        let source = Source::new("a.toml", "é = 1\r\nb = \"ü\" # x\n");
        let check = |offset, line, column| {
            assert_eq!(
                source.position(offset),
                Position { line, column },
                "{offset}"
            );
        };
        check(0, 1, 1);
        check(1, 1, 1); // inside é
        check(3, 1, 3);
        check(8, 2, 1);
        check(13, 2, 6);
        check(999, 3, 1);
        assert_eq!(source.place(None), "a.toml");
        assert_eq!(source.place(Some(&(8..9))), "a.toml:2:1");
    }

    #[test]
    fn an_included_file_has_lines_of_its_own() {
        let mut source = Source::new("a.toml", "x = 1\ny = 2");
        let start = source.add("b.toml", "one\ntwo\n");
        assert_eq!(source.place(Some(&(start..start + 1))), "b.toml:1:1");
        assert_eq!(source.place(Some(&(start + 5..start + 6))), "b.toml:2:2");
        assert_eq!(source.place(Some(&(6..7))), "a.toml:2:1");
        assert_eq!(source.excerpt(&(start + 4..start + 7)), ("two", 0..3));
        assert_eq!(source.seen_from(&(0..1), &(6..7)), "line 2");
        assert_eq!(
            source.seen_from(&(0..1), &(start..start + 1)),
            "b.toml, line 1"
        );
        assert_eq!(source.text().get(start..start + 3), Some("one"));
    }

    #[test]
    fn an_excerpt_is_one_line_and_ends_with_it() {
        let source = Source::new("a.toml", "a = [\r\n1,\n]\n");
        assert_eq!(source.excerpt(&(4..12)), ("a = [", 4..5));
        assert_eq!(source.excerpt(&(7..8)), ("1,", 0..1));
        assert_eq!(source.excerpt(&(99..120)), ("", 0..0));
        assert_eq!(Source::new("b", "").excerpt(&(0..3)), ("", 0..0));
    }
}
