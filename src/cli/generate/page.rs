//! A manual page, in the language of man(7).
//!
//! Text goes in as people write it, with `code` between backticks; everything is escaped on its way.

use roff::{Inline, Roff, bold, italic, roman};

/// Where a page comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin<'o> {
    /// Its date; may be empty.
    pub(super) date: &'o str,
}

/// A page that is being written.
#[derive(Debug, Default)]
pub(super) struct Page(Roff);

impl Page {
    pub(super) fn begin(title: &str, section: &str, manual: &str, origin: &Origin<'_>) -> Self {
        let source = format!("pinfold {}", env!("CARGO_PKG_VERSION"));
        let mut page = Self::default();
        // An argument that is empty would let the next one take its place.
        let date = match origin.date {
            "" => " ",
            date => date,
        };
        let head = [title, section, date, &source, manual];
        page.0.control("TH", head);
        // Neither hyphenated nor spread over the line: names and values are to be copied.
        page.0.control("nh", []);
        page.0.control("ad", ["l"]);
        page
    }

    /// The first section, by which apropos(1) finds the page.
    pub(super) fn name(&mut self, name: &str, what: &str) {
        self.section("NAME");
        self.0.text([roman(format!("{name} - {what}"))]);
    }

    pub(super) fn section(&mut self, title: &str) {
        self.0.control("SH", [title.to_uppercase().as_str()]);
    }

    pub(super) fn part(&mut self, title: &str) {
        self.0.control("SS", [title]);
    }

    pub(super) fn paragraph(&mut self, text: &str) {
        self.0.control("PP", []);
        self.0.text(marked(text));
    }

    /// A line by itself that begins at the margin and goes on further in: how a command is written.
    pub(super) fn usage(&mut self, line: Vec<Inline>) {
        self.0.control("PP", []);
        self.0.control("HP", []);
        self.0.text(line);
    }

    /// Something, and what there is to say about it.
    pub(super) fn term(&mut self, heads: Vec<Vec<Inline>>, text: &[String]) {
        for (number, head) in heads.into_iter().enumerate() {
            let macro_name = if number == 0 { "TP" } else { "TQ" };
            self.0.control(macro_name, []);
            self.0.text(head);
        }
        for (number, paragraph) in text.iter().enumerate() {
            if number > 0 {
                self.0.control("IP", []);
            }
            self.0.text(marked(paragraph));
        }
    }

    /// Lines as they are.
    pub(super) fn lines(&mut self, lines: &[String]) {
        self.0.control("PP", []);
        self.0.control("RS", ["4"]);
        self.0.control("nf", []);
        for line in lines {
            self.0.text([roman(line.as_str())]);
        }
        self.0.control("fi", []);
        self.0.control("RE", []);
    }

    pub(super) fn finish(self) -> String {
        self.0.render()
    }
}

/// `text` with what stands between backticks in bold.
pub(super) fn marked(text: &str) -> Vec<Inline> {
    let parts = text.split('`').enumerate();
    let parts = parts.filter(|(_, part)| !part.is_empty());
    parts
        .map(|(number, part)| {
            if number % 2 == 1 {
                bold(part)
            } else {
                roman(part)
            }
        })
        .collect()
}

/// A word in bold with what it stands for in italics: `--admin ADDR`.
pub(super) fn option(name: &str, value: Option<&str>) -> Vec<Inline> {
    let mut line = vec![bold(name)];
    if let Some(value) = value {
        line.extend([roman(" "), italic(value)]);
    }
    line
}
