//! A report on a terminal of 80 columns.

mod failovers;

use std::io::{self, Write};

use super::{Check, Played, RatioFound, Report, median};
use crate::figure;

const WIDTH: usize = 80;

/// Names of loads in front of other names.
const LOAD_WIDTH: usize = 12;

/// Columns of figures, so that four balancers and the names fit; more have less room each.
const FIGURE_WIDTH: usize = 28;
const COLUMN_WIDTH: usize = 12;

/// What follows a verdict.
const INDENT: usize = 12;

/// How much of a report is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// What it is hard to read without.
    Telling,
    /// Every figure that says something.
    All,
}

impl Report {
    /// Writes it for people.
    ///
    /// # Errors
    /// What writing refuses.
    pub fn write_text(&self, out: &mut impl Write, detail: Detail) -> io::Result<()> {
        for played in &self.scenarios {
            played.write_text(out, detail)?;
        }
        let failed = self.scenarios.iter().filter(|played| !played.holds());
        let failed: Vec<_> = failed.map(|played| played.name.as_str()).collect();
        match failed.as_slice() {
            [] => writeln!(out, "everything holds"),
            names => write_wrapped(out, 0, &format!("does not hold: {}", names.join(", "))),
        }
    }
}

impl Played {
    fn write_text(&self, out: &mut impl Write, detail: Detail) -> io::Result<()> {
        write_wrapped(out, 2, &format!("{}: {}", self.name, self.title))?;
        let balancers = self.balancers();
        let has_failovers = failovers::is_wanted(self);
        if has_failovers {
            failovers::write(out, self, &balancers)?;
        }
        if !balancers.is_empty() {
            self.write_figures(out, &balancers, detail, has_failovers)?;
        }
        for note in self.notes() {
            write_wrapped(out, INDENT, &format!("  left out  {note}"))?;
        }
        for ratio in &self.ratios {
            write_ratio(out, ratio)?;
        }
        for check in &self.checks {
            write_check(out, check)?;
        }
        for failure in &self.failures {
            write_wrapped(out, INDENT, &format!("  FAILED    {failure}"))?;
        }
        writeln!(out)
    }

    /// The median over the rounds of every figure that says something.
    fn write_figures(
        &self,
        out: &mut impl Write,
        balancers: &[&str],
        detail: Detail,
        has_failovers: bool,
    ) -> io::Result<()> {
        let is_told = |figure: &&str| has_failovers && failovers::tells(figure);
        let figures: Vec<_> = self
            .figures()
            .into_iter()
            .filter(|it| !is_told(it))
            .collect();
        let is_shown = |figure: &&str| match detail {
            Detail::All => true,
            Detail::Telling => self.is_telling(figure, has_failovers),
        };
        let shown: Vec<_> = figures.iter().copied().filter(is_shown).collect();
        let column = (WIDTH - 2 - FIGURE_WIDTH)
            .checked_div(balancers.len())
            .map_or(COLUMN_WIDTH, |width| width.min(COLUMN_WIDTH));
        write_names(out, "median over the rounds", balancers, column)?;
        for figure in &shown {
            if figure.chars().count() > FIGURE_WIDTH {
                write!(out, "  {figure}\n  {:FIGURE_WIDTH$}", "")?;
            } else {
                write!(out, "  {figure:FIGURE_WIDTH$}")?;
            }
            for balancer in balancers {
                let value = median(&self.values(balancer, figure));
                let value = value.map_or_else(|| "-".to_owned(), number);
                write!(out, "{value:>column$}")?;
            }
            writeln!(out)?;
        }
        match figures.len() - shown.len() {
            0 => Ok(()),
            more => writeln!(out, "  … and {more} more with --all"),
        }
    }

    /// Where nodes fail, how fast the rest was matters to whoever expects something of it; how far
    /// this machine itself stood still does, because a gap may be no more than that.
    fn is_telling(&self, figure: &str, has_failovers: bool) -> bool {
        let is_expected = self.checks.iter().any(|check| check.figure == figure)
            || self.ratios.iter().any(|ratio| ratio.figure == figure);
        if has_failovers {
            let always = ["troubles", "late_max_us", "processors", "resident_mib"];
            let name = figure.split_once('.').map_or(figure, |(_, name)| name);
            return is_expected || always.contains(&name);
        }
        is_expected || figure::find(figure).is_some_and(|known| known.is_telling)
    }
}

/// Names of columns; what follows a hyphen goes below.
fn write_names(
    out: &mut impl Write,
    title: &str,
    balancers: &[&str],
    column: usize,
) -> io::Result<()> {
    let split = |name: &str| -> (String, String) {
        let parts = name
            .split_once('-')
            .map(|(name, more)| (name.to_owned(), format!("-{more}")));
        parts.unwrap_or_else(|| (name.to_owned(), String::new()))
    };
    let (above, below): (Vec<_>, Vec<_>) = balancers.iter().map(|name| split(name)).unzip();
    let names = |row: &[String]| {
        row.iter()
            .map(|name| format!("{name:>column$}"))
            .collect::<String>()
    };
    writeln!(out, "  {title:FIGURE_WIDTH$}{}", names(&above))?;
    if below.iter().any(|name| !name.is_empty()) {
        writeln!(out, "  {:FIGURE_WIDTH$}{}", "", names(&below))?;
    }
    Ok(())
}

fn write_ratio(out: &mut impl Write, ratio: &RatioFound) -> io::Result<()> {
    let (least, greatest) = ratio.spread();
    let text = format!(
        "  {}  {} {:.2} × {} ({least:.2} to {greatest:.2}), at most {}",
        verdict(ratio.holds),
        ratio.figure,
        ratio.median,
        ratio.against,
        number(ratio.at_most),
    );
    write_wrapped(out, INDENT, &text)
}

fn write_check(out: &mut impl Write, check: &Check) -> io::Result<()> {
    let found = check
        .found
        .map_or_else(|| "not measured".to_owned(), number);
    let mut bounds = Vec::new();
    if let Some(least) = check.at_least {
        bounds.push(format!("at least {}", number(least)));
    }
    if let Some(most) = check.at_most {
        bounds.push(format!("at most {}", number(most)));
    }
    let text = format!(
        "  {}  {} of {}: {found}, {}",
        verdict(check.holds),
        check.figure,
        check.balancer,
        bounds.join(" and "),
    );
    write_wrapped(out, INDENT, &text)
}

/// Writes `text`, and breaks lines that are too long at blanks; what is broken off stands below, that
/// far from the left.
fn write_wrapped(out: &mut impl Write, indent: usize, text: &str) -> io::Result<()> {
    for line in text.lines() {
        let mut used = 0;
        for (at, word) in line.split(' ').enumerate() {
            let size = word.chars().count();
            if at == 0 {
                out.write_all(word.as_bytes())?;
                used = size;
            } else if used + 1 + size > WIDTH {
                write!(out, "\n{:indent$}{word}", "")?;
                used = indent + size;
            } else {
                write!(out, " {word}")?;
                used += 1 + size;
            }
        }
        writeln!(out)?;
    }
    Ok(())
}

const fn verdict(holds: bool) -> &'static str {
    if holds { "holds   " } else { "FAILED  " }
}

/// With as many digits as a noisy machine can mean.
pub(super) fn number(value: f64) -> String {
    let size = value.abs();
    if size >= 100.0 || value.fract() == 0.0 {
        grouped(value.round())
    } else if size >= 10.0 {
        format!("{value:.1}")
    } else if size >= 1.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.3}")
    }
}

/// Thousands apart.
fn grouped(whole: f64) -> String {
    let digits = format!("{:.0}", whole.abs());
    let mut text = String::new();
    if whole < 0.0 {
        text.push('-');
    }
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_broken_at_blanks_and_nothing_is_lost() {
        let long = format!(
            "  FAILED    {}\nnext line",
            "seven77 ".repeat(20).trim_end()
        );
        let mut out = Vec::new();
        write_wrapped(&mut out, INDENT, &long).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH));
        let words = |text: &str| {
            text.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(words(&text), words(&long));
        assert!(
            text.lines()
                .nth(1)
                .unwrap()
                .starts_with("            seven77")
        );
        assert_eq!(text.lines().last(), Some("next line"));
    }

    #[test]
    fn numbers_have_the_digits_that_mean_something() {
        for (value, text) in [
            (0.0, "0"),
            (0.3614, "0.361"),
            (1.6, "1.60"),
            (21.44, "21.4"),
            (811.6, "812"),
            (1_234_567.0, "1 234 567"),
            (-1_000.0, "-1 000"),
            (2.0, "2"),
        ] {
            assert_eq!(number(value), text);
        }
    }
}
