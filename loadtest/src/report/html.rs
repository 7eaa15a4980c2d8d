//! A report as one page that needs nothing else: no script, no font, no network.

use std::io::{self, Write};

use super::charts::{self, Course};
use super::svg::escape;
use super::text::number;
use super::{Check, Played, RatioFound, Report, median, spread};

impl Report {
    /// Writes it as a page.
    ///
    /// # Errors
    /// What writing refuses.
    pub fn write_html(&self, out: &mut impl Write) -> io::Result<()> {
        let verdict = self.verdict();
        write!(
            out,
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
             <title>{} — pinfold-loadtest</title><style>{STYLE}</style></head><body><main>",
            escape(&verdict)
        )?;
        self.write_head(out, &verdict)?;
        self.write_overview(out)?;
        for played in &self.scenarios {
            played.write_html(out)?;
        }
        out.write_all(b"</main></body></html>\n")
    }

    fn verdict(&self) -> String {
        let failed = self
            .scenarios
            .iter()
            .filter(|played| !played.holds())
            .count();
        match failed {
            0 => "Everything holds".to_owned(),
            1 => "One scenario does not hold".to_owned(),
            _ => format!("{failed} scenarios do not hold"),
        }
    }

    fn write_head(&self, out: &mut impl Write, verdict: &str) -> io::Result<()> {
        let made = &self.made;
        let class = if self.holds() { "good" } else { "bad" };
        write!(
            out,
            "<header><p class=\"kicker\">pinfold-loadtest</p><h1 class=\"{class}\">{}</h1>\
             <p class=\"made\">{} · Linux {} · {} × {}</p><pre>{}</pre>",
            escape(verdict),
            escape(&made.at),
            escape(&made.kernel),
            made.processors,
            escape(&made.processor),
            escape(&made.command),
        )?;
        out.write_all(b"<p class=\"legend\">")?;
        for (balancer, version) in &made.versions {
            write!(
                out,
                "{} <span class=\"quiet\">{}</span> ",
                key(balancer),
                escape(version)
            )?;
        }
        out.write_all(
            b"</p><p class=\"quiet\">Processor time is that of the balancer alone. Balancers took turns on the same \
              machine, which they shared with clients and nodes: ratios say something, absolute figures \
              little.</p></header>",
        )
    }

    fn write_overview(&self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(
            b"<table class=\"overview\"><thead><tr><th>scenario</th><th>beside its peers</th><th></th></tr></thead><tbody>",
        )?;
        for played in &self.scenarios {
            write!(
                out,
                "<tr><td><a href=\"#{0}\">{0}</a><br><span class=\"quiet\">{1}</span></td><td>",
                escape(&played.name),
                escape(&played.title)
            )?;
            for ratio in &played.ratios {
                write!(
                    out,
                    "<div>{} <b>{:.2}</b> × {}</div>",
                    escape(figure_of(&ratio.figure)),
                    ratio.median,
                    escape(&ratio.against)
                )?;
            }
            write!(out, "</td><td>{}</td></tr>", pill(played.holds()))?;
        }
        out.write_all(b"</tbody></table>")
    }
}

impl Played {
    fn write_html(&self, out: &mut impl Write) -> io::Result<()> {
        write!(
            out,
            "<section id=\"{}\"><h2>{} {}</h2><p>{}</p>",
            escape(&self.name),
            escape(&self.title),
            pill(self.holds()),
            prose(&self.about)
        )?;
        for failure in &self.failures {
            write!(out, "<p class=\"failure\">{}</p>", escape(failure))?;
        }
        for note in self.notes() {
            write!(out, "<p class=\"note\">Left out: {}</p>", escape(&note))?;
        }
        for ratio in &self.ratios {
            write_ratio(out, ratio)?;
        }
        self.write_checks(out)?;
        self.write_charts(out)?;
        self.figure_table(out)?;
        out.write_all(b"</section>")
    }

    /// Where there are many, those that hold are a click away.
    fn write_checks(&self, out: &mut impl Write) -> io::Result<()> {
        if self.checks.len() <= CHECKS_SHOWN {
            return write_checks(out, self.checks.iter());
        }
        write_checks(out, self.checks.iter().filter(|check| !check.holds))?;
        let holding = || self.checks.iter().filter(|check| check.holds);
        let count = holding().count();
        if count > 0 {
            write!(
                out,
                "<details><summary>{count} of {} expectations hold</summary>",
                self.checks.len()
            )?;
            write_checks(out, holding())?;
            out.write_all(b"</details>")?;
        }
        Ok(())
    }

    fn write_charts(&self, out: &mut impl Write) -> io::Result<()> {
        self.write_chart(
            out,
            charts::failovers(self),
            "Failovers. Dashed lines: a node was broken; dotted: it was mended. Bars: a partner or a flow without an answer.",
        )?;
        self.write_chart(
            out,
            charts::gaps(self),
            "How long partners and flows went without an answer, every time.",
        )?;
        for (figure, chart) in charts::costs(self) {
            let caption = format!("{figure}: median, and the spread over the rounds.");
            self.write_chart(out, Some(chart), &caption)?;
        }
        let mut loads: Vec<_> = self
            .runs
            .iter()
            .flat_map(|run| run.findings.latencies.keys())
            .collect();
        loads.sort_unstable();
        loads.dedup();
        for load in loads {
            // Only what has a time of its own can be late.
            let late = format!("{load}.late_p99_us");
            let has_time = self
                .runs
                .iter()
                .any(|run| run.findings.figures.contains_key(&late));
            let since = if has_time {
                "the time each unit was due"
            } else {
                "the time each unit was sent"
            };
            let caption = format!("Latency of {load} by quantile, from {since}.");
            self.write_chart(out, charts::latencies(self, load), &caption)?;
            let caption = format!("99th percentile of {load} in each quarter of a second.");
            self.write_chart(out, charts::slices(self, load), &caption)?;
        }
        self.write_chart(
            out,
            charts::course(self, Course::Processors),
            "Processors that the balancer keeps busy.",
        )?;
        self.write_chart(
            out,
            charts::course(self, Course::Memory),
            "Resident memory of the balancer.",
        )
    }

    fn write_chart(
        &self,
        out: &mut impl Write,
        chart: Option<String>,
        caption: &str,
    ) -> io::Result<()> {
        let Some(chart) = chart else {
            return Ok(());
        };
        write!(out, "<figure>{chart}<figcaption>{}", escape(caption))?;
        for balancer in self.balancers() {
            write!(out, " {}", key(balancer))?;
        }
        out.write_all(b"</figcaption></figure>")
    }

    fn figure_table(&self, out: &mut impl Write) -> io::Result<()> {
        let balancers = self.balancers();
        out.write_all(b"<details><summary>All figures: median and spread over the rounds</summary><table class=\"figures\"><thead><tr><th>figure</th>")?;
        for balancer in &balancers {
            write!(out, "<th class=\"number\">{}</th>", escape(balancer))?;
        }
        out.write_all(b"</tr></thead><tbody>")?;
        for figure in self.figures() {
            write!(out, "<tr><td><code>{}</code></td>", escape(figure))?;
            for balancer in &balancers {
                let values = self.values(balancer, figure);
                write!(out, "<td class=\"number\">{}</td>", with_spread(&values))?;
            }
            out.write_all(b"</tr>")?;
        }
        out.write_all(b"</tbody></table></details>")
    }
}

fn write_checks<'a>(
    out: &mut impl Write,
    checks: impl Iterator<Item = &'a Check>,
) -> io::Result<()> {
    let mut checks = checks.peekable();
    if checks.peek().is_none() {
        return Ok(());
    }
    out.write_all(
            b"<table class=\"checks\"><thead><tr><th>must hold</th><th>of</th><th>found</th><th>bound</th><th></th></tr></thead><tbody>",
        )?;
    for check in checks {
        let found = check
            .found
            .map_or_else(|| "not measured".to_owned(), number);
        write!(
            out,
            "<tr><td><code>{}</code></td><td>{}</td><td class=\"number\">{}</td><td>{}</td><td>{}</td></tr>",
            escape(&check.figure),
            escape(&check.balancer),
            escape(&found),
            escape(&bounds(check)),
            pill(check.holds)
        )?;
    }
    out.write_all(b"</tbody></table>")
}

/// Checks that are shown whether they hold or not.
const CHECKS_SHOWN: usize = 6;

fn write_ratio(out: &mut impl Write, ratio: &RatioFound) -> io::Result<()> {
    let (least, greatest) = ratio.spread();
    write!(
        out,
        "<figure class=\"ratio\"><figcaption><code>{}</code>: <b>{:.2}</b> × {} \
         <span class=\"quiet\">({least:.2} to {greatest:.2} over {} rounds; at most {})</span> {}</figcaption>{}</figure>",
        escape(&ratio.figure),
        ratio.median,
        escape(&ratio.against),
        ratio.rounds.len(),
        number(ratio.at_most),
        pill(ratio.holds),
        charts::ratio(ratio)
    )
}

fn with_spread(values: &[f64]) -> String {
    let (Some(middle), Some((least, greatest))) = (median(values), spread(values)) else {
        return "–".to_owned();
    };
    let middle = number(middle);
    let (least, greatest) = (number(least), number(greatest));
    if least == greatest {
        return middle;
    }
    format!("{middle} <span class=\"quiet\">{least} – {greatest}</span>")
}

fn bounds(check: &Check) -> String {
    let least = check
        .at_least
        .map(|least| format!("at least {}", number(least)));
    let most = check
        .at_most
        .map(|most| format!("at most {}", number(most)));
    least.into_iter().chain(most).collect::<Vec<_>>().join(", ")
}

fn figure_of(figure: &str) -> &str {
    figure.split_once('.').map_or(figure, |(_, figure)| figure)
}

/// A balancer's name and its colour, on one line.
fn key(balancer: &str) -> String {
    let name = escape(balancer);
    format!("<span class=\"name\"><span class=\"key {name}\"></span><b>{name}</b></span>")
}

/// Text in which words stand between backticks.
fn prose(text: &str) -> String {
    let text = escape(text);
    let mut parts = text.split('`');
    let mut prose = parts.next().unwrap_or_default().to_owned();
    while let Some(word) = parts.next() {
        match parts.next() {
            Some(after) => prose.extend(["<code>", word, "</code>", after]),
            None => prose.extend(["`", word]),
        }
    }
    prose
}

const fn pill(holds: bool) -> &'static str {
    if holds {
        "<span class=\"pill good\">holds</span>"
    } else {
        "<span class=\"pill bad\">fails</span>"
    }
}

const STYLE: &str = include_str!("style.css");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_checks_those_that_fail_are_in_sight() {
        let check = |number: u32| Check {
            balancer: "pinfold".to_owned(),
            figure: format!("talk{number}.troubles"),
            at_most: Some(0.0),
            at_least: None,
            found: Some(0.0),
            holds: number != 5,
        };
        let mut played = Played {
            name: String::new(),
            title: String::new(),
            about: String::new(),
            loads: Vec::new(),
            runs: Vec::new(),
            checks: (0..9).map(check).collect(),
            ratios: Vec::new(),
            left_out: Vec::new(),
            failures: Vec::new(),
        };
        let page = |played: &Played| {
            let mut out = Vec::new();
            played.write_checks(&mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        let text = page(&played);
        let (seen, folded) = text.split_once("<details>").unwrap();
        assert!(seen.contains("talk5.") && !seen.contains("talk4."));
        assert!(folded.contains("8 of 9") && !folded.contains("talk5."));
        played.checks.truncate(3);
        assert!(!page(&played).contains("<details>"));
    }

    #[test]
    fn words_between_backticks_are_code_and_a_lonely_one_stays() {
        for (text, expected) in [
            ("say `--yes` & go", "say <code>--yes</code> &amp; go"),
            ("`a` `b`", "<code>a</code> <code>b</code>"),
            ("a ` b", "a ` b"),
        ] {
            assert_eq!(prose(text), expected);
        }
    }
}
