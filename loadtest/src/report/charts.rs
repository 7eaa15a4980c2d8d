//! What a report draws: ratios, latencies, the course of a run, failovers.

use super::svg::{Chart, Scale};
use super::text::number;
use super::{Played, RatioFound};
use crate::run::Findings;

const LEFT: f64 = 56.0;
/// Beside names of balancers.
const WIDE_LEFT: f64 = 118.0;
const HEIGHT: f64 = 230.0;

/// Each ratio: the spread over the rounds, the median, and what is allowed.
pub(super) fn ratio(found: &RatioFound) -> String {
    let (least, greatest) = found.spread();
    let x = Scale::from_zero(greatest.max(found.at_most).max(1.0) * 1.1);
    let mut chart = Chart::new("ratio", x, Scale::between(0.0, 2.0), 72.0, 14.0);
    chart.upright("one", 1.0, "as much as the other");
    chart.upright(
        "limit",
        found.at_most,
        &format!("at most {}", number(found.at_most)),
    );
    let rounds: Vec<_> = found
        .rounds
        .iter()
        .map(|value| format!("{value:.2}"))
        .collect();
    chart.bar(
        "soft pinfold",
        least,
        greatest,
        1.0,
        &format!("rounds: {}", rounds.join(", ")),
    );
    chart.dot(
        "pinfold",
        found.median,
        1.0,
        &format!("median {:.2}", found.median),
    );
    chart.columns(&even_ticks(&x, ""), &format!("times {}", found.against));
    chart.finish()
}

/// What a unit costs each balancer: a bar to the median, and the spread over the rounds.
pub(super) fn costs(played: &Played) -> Vec<(String, String)> {
    let figures = played.figures().into_iter().filter_map(|figure| {
        let (_, name) = figure.split_once('.')?;
        let (_, what) = COSTS.into_iter().find(|(cost, _)| *cost == name)?;
        Some((figure.to_owned(), cost(played, figure, what)?))
    });
    figures.collect()
}

const COSTS: [(&str, &str); 3] = [
    ("cpu_us", "µs of a processor for a unit"),
    ("cpu_s_per_gb", "seconds of a processor for 10⁹ bytes"),
    ("kib_per_session", "KiB for a session"),
];

fn cost(played: &Played, figure: &str, what: &str) -> Option<String> {
    let balancers = played.balancers().into_iter().filter_map(|balancer| {
        let values = played.values(balancer, figure);
        Some((balancer, super::median(&values)?, super::spread(&values)?))
    });
    let balancers: Vec<_> = balancers.collect();
    let most = balancers.iter().map(|(.., (_, greatest))| *greatest);
    let rows = balancers.len();
    let x = Scale::from_zero(most.max_by(f64::total_cmp)?);
    let y = Scale::between(0.0, micros_of(rows as u64));
    let height = 54.0 + 34.0 * micros_of(rows as u64);
    let mut chart = Chart::new(figure, x, y, height, WIDE_LEFT);
    let row = |at: usize| micros_of((rows - at) as u64) - 0.5;
    let names = balancers.iter().enumerate();
    let names: Vec<_> = names
        .map(|(at, (name, ..))| (row(at), (*name).to_owned()))
        .collect();
    chart.rows(&names);
    for (at, (name, median, (least, greatest))) in balancers.iter().enumerate() {
        let title = format!(
            "{name}: {}, from {} to {}",
            number(*median),
            number(*least),
            number(*greatest)
        );
        chart.bar(&format!("soft {name}"), 0.0, *median, row(at), &title);
        chart.whisker(name, (*least, *greatest), row(at), &title);
    }
    chart.columns(&even_ticks(&x, ""), what);
    Some(chart.finish())
}

/// Latency by quantile, the tail stretched by nines; the middle run of each balancer.
pub(super) fn latencies(played: &Played, load: &str) -> Option<String> {
    let curves: Vec<_> = middle_runs(played)
        .filter_map(|findings| Some((findings, findings.latencies.get(load)?)))
        .collect();
    let values = curves.iter().flat_map(|(_, curve)| curve.quantiles.iter());
    let values: Vec<f64> = values.map(|(_, micros)| micros_of(*micros)).collect();
    let (low, high) = super::spread(&values)?;
    let x = Scale::between(0.0, nines(0.9999));
    let y = Scale::decades(low, high);
    let mut chart = Chart::new("latency by quantile", x, y, HEIGHT, LEFT);
    chart.rows(&time_ticks(&y));
    let marks = [
        (0.0, "0"),
        (0.5, "50 %"),
        (0.9, "90 %"),
        (0.99, "99 %"),
        (0.999, "99.9 %"),
    ];
    let marks = marks.map(|(quantile, label)| (nines(quantile), label.to_owned()));
    chart.columns(&marks, "of messages answered within");
    for (findings, curve) in curves {
        let points = curve
            .quantiles
            .iter()
            .filter(|(quantile, _)| *quantile < 1.0);
        chart.line(
            &findings.balancer,
            points.map(|(quantile, micros)| (nines(*quantile), micros_of(*micros))),
        );
    }
    Some(chart.finish())
}

/// The 99th percentile of each quarter of a second.
pub(super) fn slices(played: &Played, load: &str) -> Option<String> {
    const SLICE: f64 = 0.25;
    let curves: Vec<_> = middle_runs(played)
        .filter_map(|findings| Some((findings, findings.latencies.get(load)?)))
        .collect();
    let values = curves.iter().flat_map(|(_, curve)| &curve.slices);
    let values: Vec<f64> = values
        .filter(|it| **it > 0)
        .map(|it| micros_of(*it))
        .collect();
    let (low, high) = super::spread(&values)?;
    let longest = curves.iter().map(|(_, curve)| curve.slices.len()).max()?;
    let x = Scale::between(0.0, micros_of(longest as u64) * SLICE);
    let y = Scale::decades(low, high);
    let mut chart = Chart::new("tail by time", x, y, HEIGHT, LEFT);
    chart.rows(&time_ticks(&y));
    chart.columns(&second_ticks(&x), "seconds");
    for (findings, curve) in curves {
        let points = curve
            .slices
            .iter()
            .enumerate()
            .filter(|(_, micros)| **micros > 0);
        chart.line(
            &findings.balancer,
            points.map(|(at, micros)| (micros_of(at as u64) * SLICE, micros_of(*micros))),
        );
    }
    Some(chart.finish())
}

/// What of a sample is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Course {
    Processors,
    Memory,
}

/// The course of the balancers' cost.
pub(super) fn course(played: &Played, what: Course) -> Option<String> {
    let value = |sample: &crate::run::Sample| match what {
        Course::Processors => sample.processors,
        Course::Memory => sample.resident_mib,
    };
    let runs: Vec<_> = middle_runs(played)
        .filter(|findings| {
            findings
                .course
                .iter()
                .any(|sample| sample.resident_mib > 0.0)
        })
        .collect();
    let samples = || runs.iter().flat_map(|findings| &findings.course);
    let high = samples().map(value).max_by(f64::total_cmp)?;
    let end = samples().map(|sample| sample.at).max_by(f64::total_cmp)?;
    let (x, y) = (Scale::between(0.0, end), Scale::from_zero(high));
    let mut chart = Chart::new("cost by time", x, y, HEIGHT, LEFT);
    let unit = match what {
        Course::Processors => "",
        Course::Memory => " MiB",
    };
    chart.rows(&even_ticks(&y, unit));
    chart.columns(&second_ticks(&x), "seconds");
    for findings in runs {
        let points = findings
            .course
            .iter()
            .map(|sample| (sample.at, value(sample)));
        chart.line(&findings.balancer, points);
    }
    Some(chart.finish())
}

/// When partners and flows went without their node: a row for each balancer, a bar for each gap, and what was
/// done to nodes.
pub(super) fn failovers(played: &Played) -> Option<String> {
    let runs: Vec<_> = middle_runs(played)
        .filter(|findings| !findings.events.is_empty())
        .collect();
    let events = runs
        .iter()
        .flat_map(|findings| &findings.events)
        .map(|event| event.at);
    let gaps = runs
        .iter()
        .flat_map(|findings| &findings.gaps)
        .map(|gap| gap.at);
    let end = events.chain(gaps).max_by(f64::total_cmp)?;
    let rows = runs.len();
    let y = Scale::between(0.0, micros_of(rows as u64));
    let x = Scale::between(0.0, (end * 1.02).max(1.0));
    let height = 54.0 + 34.0 * micros_of(rows as u64);
    let mut chart = Chart::new("failovers by time", x, y, height, WIDE_LEFT);
    let row = |at: usize| micros_of((rows - at) as u64) - 0.5;
    let names: Vec<_> = runs
        .iter()
        .enumerate()
        .map(|(at, findings)| (row(at), findings.balancer.clone()))
        .collect();
    chart.rows(&names);
    if let Some(first) = runs.first() {
        for event in first
            .events
            .iter()
            .filter(|event| event.command != "reload")
        {
            let class = if event.command == "mend" {
                "mended"
            } else {
                "broken"
            };
            let title = format!("{} {}, {:.1} s", event.command, event.to, event.at);
            chart.upright(class, event.at, &title);
        }
    }
    for (at, findings) in runs.iter().enumerate() {
        for gap in &findings.gaps {
            let title = format!(
                "{}: {} to {}, {} ms",
                gap.partner,
                gap.from,
                gap.to,
                number(gap.ms)
            );
            chart.bar(
                &findings.balancer,
                gap.at - gap.ms / 1e3,
                gap.at,
                row(at),
                &title,
            );
        }
    }
    chart.columns(&second_ticks(&x), "seconds");
    Some(chart.finish())
}

/// How long partners and flows went without their node: a dot for each gap.
pub(super) fn gaps(played: &Played) -> Option<String> {
    let runs: Vec<_> = played.runs.iter().map(|run| &run.findings).collect();
    let values = runs
        .iter()
        .flat_map(|findings| &findings.gaps)
        .map(|gap| gap.ms.max(0.01));
    let (low, high) = super::spread(&values.collect::<Vec<_>>())?;
    let balancers = played.balancers();
    let rows = balancers.len();
    let x = Scale::decades(low, high);
    let y = Scale::between(0.0, micros_of(rows as u64));
    let height = 54.0 + 34.0 * micros_of(rows as u64);
    let mut chart = Chart::new("length of failovers", x, y, height, WIDE_LEFT);
    let row = |at: usize| micros_of((rows - at) as u64) - 0.5;
    let names = balancers.iter().enumerate();
    let names: Vec<_> = names
        .map(|(at, name)| (row(at), (*name).to_owned()))
        .collect();
    chart.rows(&names);
    for (at, name) in balancers.iter().enumerate() {
        for findings in runs.iter().filter(|findings| findings.balancer == *name) {
            for gap in &findings.gaps {
                chart.dot(
                    name,
                    gap.ms.max(0.01),
                    row(at),
                    &format!("{} ms", number(gap.ms)),
                );
            }
        }
    }
    let ticks = x.ticks().into_iter();
    let ticks: Vec<_> = ticks.map(|tick| (tick, duration(tick * 1e3))).collect();
    chart.columns(&ticks, "without an answer");
    Some(chart.finish())
}

/// One run of each balancer: the one of the round in the middle, for charts that show a single run.
fn middle_runs(played: &Played) -> impl Iterator<Item = &Findings> {
    played.balancers().into_iter().filter_map(|balancer| {
        let runs = played
            .runs
            .iter()
            .filter(|run| run.findings.balancer == balancer);
        let runs: Vec<_> = runs.map(|run| &run.findings).collect();
        runs.get(runs.len() / 2).copied()
    })
}

fn time_ticks(y: &Scale) -> Vec<(f64, String)> {
    y.ticks()
        .into_iter()
        .map(|tick| (tick, duration(tick)))
        .collect()
}

fn second_ticks(x: &Scale) -> Vec<(f64, String)> {
    even_ticks(x, "")
}

/// Ticks with as many decimals each as one of them needs.
fn even_ticks(scale: &Scale, unit: &str) -> Vec<(f64, String)> {
    let ticks = scale.ticks();
    let is_whole = |value: f64| (value - value.round()).abs() < 1e-6;
    let fits = |decimals: &usize| {
        let factor = 10_f64.powf(micros_of(*decimals as u64));
        ticks.iter().all(|tick| is_whole(tick * factor))
    };
    let decimals = (0..6).find(fits).unwrap_or(6);
    let label = |tick: &f64| match decimals {
        0 => number(tick.round()),
        _ => format!("{tick:.decimals$}"),
    };
    let labels = ticks
        .iter()
        .map(|tick| (*tick, format!("{}{unit}", label(tick))));
    labels.collect()
}

/// Microseconds in the unit people would use.
fn duration(micros: f64) -> String {
    if micros >= 1e6 {
        format!("{} s", number(round(micros / 1e6)))
    } else if micros >= 1e3 {
        format!("{} ms", number(round(micros / 1e3)))
    } else {
        format!("{} µs", number(round(micros)))
    }
}

/// Without what floating point leaves behind.
fn round(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

/// Each nine takes as much room as the one before.
fn nines(quantile: f64) -> f64 {
    -(1.0 - quantile).max(1e-6).log10()
}

#[expect(
    clippy::cast_precision_loss,
    reason = "microseconds and counts of a chart"
)]
const fn micros_of(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_ticks_of_an_axis_have_as_many_decimals() {
        for (high, labels) in [
            (1.5, "0.0 0.5 1.0 1.5"),
            (4.0, "0 1 2 3 4"),
            (0.1, "0.00 0.02 0.04 0.06 0.08 0.10"),
            (2_000.0, "0 500 1 000 1 500 2 000"),
        ] {
            let ticks = even_ticks(&Scale::from_zero(high), "");
            let found: Vec<_> = ticks.into_iter().map(|(_, label)| label).collect();
            assert_eq!(found.join(" "), labels);
        }
    }
}
