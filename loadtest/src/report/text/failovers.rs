//! Who went without a node, for how long, and who was disturbed: the first lines of a scenario in
//! which something fails.

use std::io::{self, Write};

use super::{LOAD_WIDTH, grouped};
use crate::figure::BALANCER;
use crate::report::{Played, median};

const BALANCER_WIDTH: usize = 14;

/// Title, figure and width of each column.
const COLUMNS: [(&str, &str, usize); 6] = [
    ("moves", "moves", 6),
    ("gap p50", "gap_p50_ms", 9),
    ("p99 ms", "gap_p99_ms", 9),
    ("longest", "silence_max_ms", 9),
    ("not back", "not_back", 9),
    ("disturbed", "disturbed_elsewhere", 10),
];

/// Whether the table tells `figure`.
pub(super) fn tells(figure: &str) -> bool {
    let name = figure.split_once('.').map_or(figure, |(_, name)| name);
    COLUMNS.iter().any(|(_, told, _)| *told == name)
}

/// Whether anything failed, or anybody moved all the same.
pub(super) fn is_wanted(played: &Played) -> bool {
    played.runs.iter().any(|run| {
        let found = &run.findings;
        !found.gaps.is_empty() || !found.events.is_empty()
    })
}

pub(super) fn write(out: &mut impl Write, played: &Played, balancers: &[&str]) -> io::Result<()> {
    let width = LOAD_WIDTH + BALANCER_WIDTH;
    write!(out, "  {:width$}", "")?;
    for (title, _, width) in COLUMNS {
        write!(out, "{title:>width$}")?;
    }
    writeln!(out)?;
    for load in &played.loads {
        let mut name = load.as_str();
        for balancer in balancers {
            let cells = COLUMNS.map(|(_, figure, width)| {
                let values = played.values(balancer, &format!("{load}.{figure}"));
                (median(&values), figure, width)
            });
            if load == BALANCER || cells.iter().all(|(value, ..)| value.is_none()) {
                continue;
            }
            if name.len() >= LOAD_WIDTH {
                writeln!(out, "  {name}")?;
                name = "";
            }
            write!(out, "  {name:LOAD_WIDTH$}{balancer:BALANCER_WIDTH$}")?;
            name = "";
            for (value, figure, width) in cells {
                let text = value.map_or_else(|| "-".to_owned(), |value| cell(figure, value));
                write!(out, "{text:>width$}")?;
            }
            writeln!(out)?;
        }
    }
    Ok(())
}

/// Times to a tenth, so that they stand below each other by their size.
fn cell(figure: &str, value: f64) -> String {
    if !figure.ends_with("_ms") {
        return grouped(value);
    }
    let tenths = (value * 10.0).round();
    format!("{}.{:.0}", grouped((tenths / 10.0).floor()), tenths % 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_one_digit_after_the_point_and_thousands_apart() {
        for (value, text) in [
            (0.04, "0.0"),
            (5.49, "5.5"),
            (13.96, "14.0"),
            (1830.25, "1 830.3"),
        ] {
            assert_eq!(cell("gap_p50_ms", value), text);
        }
        assert_eq!(cell("moves", 20.0), "20");
    }
}
