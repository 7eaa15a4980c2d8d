//! `pinfold.toml(5)`: the shipped configuration, whose comments explain each key, as a page.
//!
//! Owns how that file is written: a banner begins a chapter, a comment belongs to the keys or the header below it,
//! `# key = value` is a default, `example:` marks what has none, and tables without a comment are examples.

use roff::{Inline, bold, roman};

use super::page::{Origin, Page};

const SHIPPED: &str = include_str!("../../../packaging/pinfold.toml");

pub(super) fn page(origin: &Origin<'_>) -> String {
    let mut page = Page::begin("PINFOLD.TOML", "5", "File Formats", origin);
    page.name("pinfold.toml", "configuration of pinfold");
    page.section("SYNOPSIS");
    page.lines(&["/etc/pinfold/pinfold.toml".to_owned()]);
    page.section("DESCRIPTION");
    INTRODUCTION.iter().for_each(|text| page.paragraph(text));
    let mut blocks = blocks(SHIPPED).into_iter().peekable();
    // What the file says of itself, of which the last paragraph is about every key.
    let head = blocks.next_if(|block| matches!(block, Block::Item(item) if item.keys.is_empty()));
    if let Some(Block::Item(item)) = head {
        let last = item.paragraphs().pop().unwrap_or_default();
        page.paragraph(&last);
    }
    page.section("ABOVE ALL HEADERS");
    while let Some(block) = blocks.next() {
        match block {
            Block::Chapter(title) => page.section(&title),
            Block::Table { header, about } => {
                let is_next = |block: &Block| matches!(block, Block::Item(_));
                let mut items = Vec::new();
                while let Some(Block::Item(item)) = blocks.next_if(is_next) {
                    items.push(item);
                }
                table(&mut page, &header, &about, &items);
            }
            Block::Item(item) => write_item(&mut page, &item),
        }
    }
    page.section("FILES");
    page.term(
        vec![vec![bold("/etc/pinfold/pinfold.toml")]],
        &["The configuration.".to_owned()],
    );
    page.section("SEE ALSO");
    page.paragraph("`pinfold`(8)");
    page.finish()
}

fn table(page: &mut Page, header: &str, about: &Item, items: &[Item]) {
    let is_example = about.text.is_empty() && items.iter().all(|item| item.text.is_empty());
    if is_example {
        let keys = items.iter().flat_map(|item| &item.keys);
        let lines = keys.map(|key| format!("{} = {}", key.name, key.value));
        let lines: Vec<_> = std::iter::once(header.to_owned()).chain(lines).collect();
        return page.lines(&lines);
    }
    page.part(header);
    about
        .paragraphs()
        .iter()
        .for_each(|text| page.paragraph(text));
    items.iter().for_each(|item| write_item(page, item));
}

fn write_item(page: &mut Page, item: &Item) {
    if item.keys.is_empty() {
        item.paragraphs()
            .iter()
            .for_each(|text| page.paragraph(text));
        return;
    }
    let heads = item.keys.iter().map(Key::head).collect();
    page.term(heads, &item.paragraphs());
}

/// A part of the file.
#[derive(Debug, PartialEq, Eq)]
enum Block {
    Chapter(String),
    Table { header: String, about: Item },
    Item(Item),
}

/// A comment, and the keys that it is about.
#[derive(Debug, Default, PartialEq, Eq)]
struct Item {
    text: Vec<String>,
    keys: Vec<Key>,
}

impl Item {
    fn paragraphs(&self) -> Vec<String> {
        let paragraphs = self.text.split(String::is_empty);
        let joined = paragraphs.map(|lines| {
            let lines = lines.iter().map(|line| line.trim());
            lines.collect::<Vec<_>>().join(" ")
        });
        joined.filter(|paragraph| !paragraph.is_empty()).collect()
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Key {
    name: String,
    value: String,
    /// It has no default, or the file sets another value.
    is_example: bool,
}

impl Key {
    fn head(&self) -> Vec<Inline> {
        let mut head = vec![bold(&*self.name), roman(format!(" = {}", self.value))];
        if self.is_example {
            head.push(roman("    (example)"));
        }
        head
    }
}

fn blocks(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut item = Item::default();
    let flush = |item: &mut Item, blocks: &mut Vec<Block>| {
        let item = std::mem::take(item);
        if item != Item::default() {
            blocks.push(Block::Item(item));
        }
    };
    for line in text.lines().map(str::trim) {
        if let Some(title) = banner(line) {
            flush(&mut item, &mut blocks);
            blocks.push(Block::Chapter(title.to_owned()));
        } else if let Some(header) = header(line) {
            // The keys above belong to the table before, the comment to this one.
            let about = match item.keys.is_empty() {
                true => std::mem::take(&mut item),
                false => Item::default(),
            };
            flush(&mut item, &mut blocks);
            blocks.push(Block::Table {
                header: header.to_owned(),
                about,
            });
        } else if let Some(key) = key(line) {
            // Shown twice, the second time in full.
            item.keys.retain(|other| other.name != key.name);
            item.keys.push(key);
        } else if let Some(comment) = line.strip_prefix('#') {
            if !item.keys.is_empty() {
                flush(&mut item, &mut blocks);
            }
            item.text.push(comment.trim().to_owned());
        } else {
            flush(&mut item, &mut blocks);
        }
    }
    flush(&mut item, &mut blocks);
    blocks
}

/// `# ── The process ──…`
fn banner(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("# ──")?;
    Some(rest.trim_matches(['─', ' ']))
}

fn header(line: &str) -> Option<&str> {
    let line = line.strip_prefix("# example: ").unwrap_or(line);
    line.starts_with('[').then_some(line)
}

fn key(line: &str) -> Option<Key> {
    let (bare, is_example) = match line.strip_prefix("# ") {
        Some(rest) => match rest.strip_prefix("example: ") {
            Some(example) => (example, true),
            None => (rest, false),
        },
        None => (line, true),
    };
    let (name, value) = bare.split_once(" = ")?;
    let is_key = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    name.chars().all(is_key).then(|| Key {
        name: name.to_owned(),
        value: value.to_owned(),
        is_example,
    })
}

const INTRODUCTION: [&str; 3] = [
    "A file of TOML: the process, pools of nodes, listeners that clients come to, and partners. `pinfold setup` asks for what is needed and writes a first one; `pinfold check FILE` tells every mistake at once, with its place, why it \
     matters and what to write instead; `pinfold reload` puts a change in force, and a file with a mistake changes \
     nothing.",
    "All keys are described here, each with its default. Of those marked `(example)` there is none, or the value shown is \
     not it: names and addresses come from the ranges reserved for documentation. Keys marked `later` are \
     understood and checked; any other value than the default is refused by `serve` until a later version can do it.",
    "Of a table in double brackets, such as `[[listener]]`, there may be several.",
];
