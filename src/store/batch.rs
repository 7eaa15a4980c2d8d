//! What is to be written at once, and how one batch adds to another.
//!
//! A batch holds whole records by key, to put or to remove, so that writing it twice does no harm and
//! two in a row are as good as their sum.

use std::borrow::Cow;
use std::collections::BTreeMap;

/// Names of a book and of a page in it.
pub type Name = (Cow<'static, str>, String);
/// Pages to be written; `None` removes.
pub type Pages = BTreeMap<Name, Option<Vec<u8>>>;

/// What is to be written at once. `None` removes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Pins, in the codec's bytes.
    pub pins: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    /// Pins that are not among these are to go.
    pub are_all_pins: bool,
    /// Pages of books.
    pub pages: Pages,
    /// Microseconds that instances have lived.
    pub lived: u64,
}

impl Batch {
    /// Bytes of its keys and values, about.
    #[must_use]
    pub fn size(&self) -> usize {
        let value = |value: &Option<Vec<u8>>| value.as_ref().map_or(0, Vec::len);
        let pins = self.pins.iter().map(|(key, of)| key.len() + value(of));
        let pages = self.pages.iter();
        let pages = pages.map(|((book, page), of)| book.len() + page.len() + value(of));
        pins.sum::<usize>() + pages.sum::<usize>()
    }

    /// Adds what came later. No removal is remembered where whatever is not named goes anyway, so that a
    /// batch of all pins stays as large as the table, however long it waits.
    pub fn merge(&mut self, newer: Self) {
        if newer.are_all_pins {
            self.pins.clear();
            self.are_all_pins = true;
        }
        if self.are_all_pins {
            for (key, value) in newer.pins {
                match value {
                    Some(value) => drop(self.pins.insert(key, Some(value))),
                    None => drop(self.pins.remove(&key)),
                }
            }
        } else {
            self.pins.extend(newer.pins);
        }
        self.pages.extend(newer.pages);
        self.lived = self.lived.max(newer.lived);
    }
}
