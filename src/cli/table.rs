//! Tables and quantities as people read them. Pure.

use comfy_table::{Cell, CellAlignment, ColumnConstraint, ContentArrangement, Table};
use jiff::Timestamp;

/// How something is laid out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    /// Columns; `None`: as many as the longest line needs.
    pub(super) width: Option<u16>,
    /// The present, for ages.
    pub(super) now: Timestamp,
}

impl Layout {
    /// A table without lines, which fits the width. A heading that begins with `#` is of numbers: they
    /// stand at the right and are never wrapped.
    pub(super) fn table(&self, headings: &[impl AsRef<str>], rows: Vec<Vec<String>>) -> String {
        let mut table = Table::new();
        table.load_style(comfy_table::presets::NOTHING);
        if let Some(width) = self.width {
            table.set_content_arrangement(ContentArrangement::Dynamic);
            table.set_width(width);
        }
        let title = |heading: &_| Cell::new(str::trim_start_matches(AsRef::as_ref(heading), '#'));
        table.set_header(headings.iter().map(title).collect::<Vec<_>>());
        for row in rows {
            table.add_row(row);
        }
        for (place, (column, heading)) in table.column_iter_mut().zip(headings).enumerate() {
            let is_last = place + 1 == headings.len();
            column.set_padding((0, if is_last { 0 } else { 2 }));
            if heading.as_ref().starts_with('#') {
                column.set_cell_alignment(CellAlignment::Right);
                column.set_constraint(ColumnConstraint::ContentWidth);
            }
        }
        table.trim_fmt() + "\n"
    }

    /// `text` wrapped at the width, each line after `indent`, the following ones two deeper.
    pub(super) fn wrapped(&self, indent: &str, text: &str) -> String {
        let width = self.width.map_or(usize::MAX, usize::from);
        let mut lines = String::new();
        let mut line = indent.to_owned();
        let mut is_empty = true;
        for word in text.split_whitespace() {
            let length = line.chars().count() + 1 + word.chars().count();
            if !is_empty && length > width {
                lines.push_str(&line);
                lines.push('\n');
                line = format!("{indent}  ");
                is_empty = true;
            }
            if !is_empty {
                line.push(' ');
            }
            line.push_str(word);
            is_empty = false;
        }
        lines + &line + "\n"
    }

    /// How long ago `time` was, or how far ahead it is.
    pub(super) fn age(&self, time: Timestamp) -> String {
        let seconds = self.now.duration_since(time).as_secs();
        age(seconds.unsigned_abs())
    }
}

/// `12s`, `8m`, `3h`, `41d`: the largest unit, for a glance.
pub(super) fn age(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// `6 186`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// `1.7 MB`.
pub(super) fn bytes(count: u64) -> String {
    let units = ["kB", "MB", "GB", "TB", "PB", "EB"];
    let mut tenths = u128::from(count) * 10;
    let mut unit = "B";
    for larger in units {
        if tenths < 10_000 {
            break;
        }
        tenths /= 1000;
        unit = larger;
    }
    match (unit, tenths) {
        ("B", _) => format!("{count} B"),
        (_, 0..1000) => format!("{}.{} {unit}", tenths / 10, tenths % 10),
        _ => format!("{} {unit}", tenths / 10),
    }
}

/// `12 ms`, `2.7 s`, `4m`.
pub(super) fn millis(count: f64) -> String {
    if count < 1000.0 {
        format!("{count:.0} ms")
    } else if count < 120_000.0 {
        format!("{:.1} s", count / 1000.0)
    } else {
        let minutes = (count / 60_000.0).floor();
        format!("{minutes:.0}m")
    }
}

/// `2026-12-08 02:14:07Z`.
pub(super) fn clock(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// `1 node`, `2 nodes`.
pub(super) fn count(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", grouped(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_short() {
        for (seconds, text) in [
            (0, "0s"),
            (119, "119s"),
            (480, "8m"),
            (7200, "2h"),
            (3_542_400, "41d"),
        ] {
            assert_eq!(age(seconds), text);
        }
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1 000"),
            (6_186_000, "6 186 000"),
        ] {
            assert_eq!(grouped(number), text);
        }
        for (count, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (1_700_000, "1.7 MB"),
            (123_456_789, "123 MB"),
            (u64::MAX, "18.4 EB"),
        ] {
            assert_eq!(bytes(count), text);
        }
        for (count, text) in [
            (0.4, "0 ms"),
            (12.0, "12 ms"),
            (2720.0, "2.7 s"),
            (250_000.0, "4m"),
        ] {
            assert_eq!(millis(count), text);
        }
        assert_eq!(
            (count(1, "node").as_str(), count(0, "node").as_str()),
            ("1 node", "0 nodes")
        );
    }

    #[test]
    fn long_text_is_wrapped_and_indented() {
        let layout = Layout {
            width: Some(20),
            now: Timestamp::UNIX_EPOCH,
        };
        assert_eq!(
            layout.wrapped("  ", "DOWN edge1 since yesterday for all"),
            "  DOWN edge1 since\n    yesterday for\n    all\n"
        );
        let layout = Layout {
            width: None,
            ..layout
        };
        assert_eq!(layout.wrapped("", "a  b"), "a b\n");
    }
}
