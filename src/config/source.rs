//! The text of a configuration file, and where in it something stands.
//!
//! Owns the translation of byte offsets into lines and columns. Knows nothing of TOML.

use std::ops::Range;

/// A stretch of the text, in bytes.
pub type Span = Range<usize>;

/// A configuration file as it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    name: String,
    text: String,
    /// Offset of the first byte of each line.
    lines: Vec<usize>,
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
        let breaks = text.match_indices('\n').map(|(offset, _)| offset + 1);
        Self {
            name: name.to_owned(),
            text: text.to_owned(),
            lines: std::iter::once(0).chain(breaks).collect(),
        }
    }

    /// The name of the file, as it was given.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The whole text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Line and column of a byte; an offset behind the end is the end.
    #[must_use]
    pub fn position(&self, offset: usize) -> Position {
        let offset = self.boundary(offset);
        let line = self.lines.partition_point(|&start| start <= offset).max(1);
        let start = self.lines.get(line - 1).copied().unwrap_or(0);
        let before = self.text.get(start..offset).unwrap_or("");
        Position {
            line,
            column: before.chars().count() + 1,
        }
    }

    /// `file:line:column`, or the file alone where nothing more is known.
    #[must_use]
    pub fn place(&self, span: Option<&Span>) -> String {
        match span {
            Some(span) => {
                let Position { line, column } = self.position(span.start);
                format!("{}:{line}:{column}", self.name)
            }
            None => self.name.clone(),
        }
    }

    /// The first line that `span` touches, and the part of the span inside that line.
    #[must_use]
    pub fn excerpt(&self, span: &Span) -> (&str, Span) {
        let first = self.boundary(span.start);
        let line = self.position(first).line;
        let start = self.lines.get(line - 1).copied().unwrap_or(0);
        let rest = self.text.get(start..).unwrap_or("");
        let text = rest.split('\n').next().unwrap_or("").trim_end_matches('\r');
        let from = (first - start).min(text.len());
        let to = self.boundary(span.end.max(first)) - start;
        (text, from..to.clamp(from, text.len()))
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
    fn an_excerpt_is_one_line_and_ends_with_it() {
        let source = Source::new("a.toml", "a = [\r\n1,\n]\n");
        assert_eq!(source.excerpt(&(4..12)), ("a = [", 4..5));
        assert_eq!(source.excerpt(&(7..8)), ("1,", 0..1));
        assert_eq!(source.excerpt(&(99..120)), ("", 0..0));
        assert_eq!(Source::new("b", "").excerpt(&(0..3)), ("", 0..0));
    }
}
