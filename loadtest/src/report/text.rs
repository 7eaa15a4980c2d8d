//! A report on a terminal of 80 columns.

use std::io::{self, Write};

use super::{Check, Played, RatioFound, Report, median};

/// Columns of figures, so that four balancers and the names fit.
const FIGURE_WIDTH: usize = 28;
const COLUMN_WIDTH: usize = 12;

impl Report {
    /// Writes it for people.
    ///
    /// # Errors
    /// What writing refuses.
    pub fn write_text(&self, out: &mut impl Write) -> io::Result<()> {
        for played in &self.scenarios {
            played.write_text(out)?;
        }
        let failed = self.scenarios.iter().filter(|played| !played.holds());
        let failed: Vec<_> = failed.map(|played| played.name.as_str()).collect();
        match failed.as_slice() {
            [] => writeln!(out, "everything holds"),
            names => writeln!(out, "does not hold: {}", names.join(", ")),
        }
    }
}

impl Played {
    fn write_text(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "{}: {}", self.name, self.title)?;
        let balancers = self.balancers();
        if !balancers.is_empty() {
            self.write_figures(out, &balancers)?;
        }
        for note in self.notes() {
            writeln!(out, "  left out  {note}")?;
        }
        for ratio in &self.ratios {
            write_ratio(out, ratio)?;
        }
        for check in &self.checks {
            write_check(out, check)?;
        }
        for failure in &self.failures {
            writeln!(out, "  FAILED    {failure}")?;
        }
        writeln!(out)
    }

    /// The median over the rounds of every figure that says something.
    fn write_figures(&self, out: &mut impl Write, balancers: &[&str]) -> io::Result<()> {
        write_names(out, "median over the rounds", balancers)?;
        for figure in self.figures() {
            write!(out, "  {figure:FIGURE_WIDTH$}")?;
            for balancer in balancers {
                let value = median(&self.values(balancer, figure));
                let value = value.map_or_else(|| "-".to_owned(), number);
                write!(out, "{value:>COLUMN_WIDTH$}")?;
            }
            writeln!(out)?;
        }
        Ok(())
    }
}

/// Names of columns; what follows a hyphen goes below.
fn write_names(out: &mut impl Write, title: &str, balancers: &[&str]) -> io::Result<()> {
    let split = |name: &str| -> (String, String) {
        let parts = name
            .split_once('-')
            .map(|(name, more)| (name.to_owned(), format!("-{more}")));
        parts.unwrap_or_else(|| (name.to_owned(), String::new()))
    };
    let (above, below): (Vec<_>, Vec<_>) = balancers.iter().map(|name| split(name)).unzip();
    let names = |row: &[String]| {
        row.iter()
            .map(|name| format!("{name:>COLUMN_WIDTH$}"))
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
    writeln!(
        out,
        "  {}  {} {:.2} × {} ({least:.2} to {greatest:.2}), at most {}",
        verdict(ratio.holds),
        ratio.figure,
        ratio.median,
        ratio.against,
        number(ratio.at_most),
    )
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
    writeln!(
        out,
        "  {}  {} of {}: {found}, {}",
        verdict(check.holds),
        check.figure,
        check.balancer,
        bounds.join(" and "),
    )
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
