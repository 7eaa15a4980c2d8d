//! Charts as text: axes and marks in the coordinates of what is shown.
//!
//! Owns scales, ticks and the few marks that the report draws. Colours are classes that the page
//! defines, so that a chart is legible in light and in dark.

use std::fmt::Write as _;

/// Where text would otherwise be markup.
pub(super) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            _ => safe.push(character),
        }
    }
    safe
}

/// From what is shown to where it is shown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scale {
    kind: Kind,
    low: f64,
    high: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Linear,
    Logarithmic,
}

impl Scale {
    /// From 0 to a round number above `high`.
    pub(super) fn from_zero(high: f64) -> Self {
        let step = step(high);
        Self {
            kind: Kind::Linear,
            low: 0.0,
            high: ((high / step).ceil() * step).max(step),
        }
    }

    /// From `low` to `high`, as they are.
    pub(super) fn between(low: f64, high: f64) -> Self {
        Self {
            kind: Kind::Linear,
            low,
            high: if high > low { high } else { low + 1.0 },
        }
    }

    /// Whole decades around `low` and `high`, which are more than zero.
    pub(super) fn decades(low: f64, high: f64) -> Self {
        let low = 10_f64.powf(low.max(1e-9).log10().floor());
        let high = 10_f64.powf(high.max(low * 10.0).log10().ceil());
        Self {
            kind: Kind::Logarithmic,
            low,
            high,
        }
    }

    /// Where `value` lies, 0 at the low end and 1 at the high one; what lies outside is at the edge.
    pub(super) fn at(&self, value: f64) -> f64 {
        let part = match self.kind {
            Kind::Linear => (value - self.low) / (self.high - self.low),
            Kind::Logarithmic => {
                (value.max(self.low) / self.low).log10() / (self.high / self.low).log10()
            }
        };
        part.clamp(0.0, 1.0)
    }

    /// Values that deserve a line.
    pub(super) fn ticks(&self) -> Vec<f64> {
        let mut ticks = Vec::new();
        match self.kind {
            Kind::Linear => {
                let step = step(self.high - self.low);
                let mut tick = (self.low / step).ceil() * step;
                while tick <= self.high + step * 1e-6 && ticks.len() < TICKS_MAX {
                    ticks.push(tick);
                    tick += step;
                }
            }
            Kind::Logarithmic => {
                let mut tick = self.low;
                while tick <= self.high * 1.001 && ticks.len() < TICKS_MAX {
                    ticks.push(tick);
                    tick *= 10.0;
                }
            }
        }
        ticks
    }
}

const TICKS_MAX: usize = 24;

/// A round step that cuts `length` into four to eight.
fn step(length: f64) -> f64 {
    if !(length > 0.0 && length.is_finite()) {
        return 1.0;
    }
    let rough = length / 5.0;
    let decade = 10_f64.powf(rough.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * decade);
    steps
        .into_iter()
        .find(|step| *step >= rough * 0.99)
        .unwrap_or(rough)
}

/// A chart that is being drawn.
#[derive(Debug)]
pub(super) struct Chart {
    text: String,
    x: Scale,
    y: Scale,
    height: f64,
    left: f64,
}

const WIDTH: f64 = 720.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 34.0;
/// How wide a character of a tick is, at most.
const CHARACTER: f64 = 8.0;

impl Chart {
    /// An empty chart, `name` for those who cannot see it.
    pub(super) fn new(name: &str, x: Scale, y: Scale, height: f64, left: f64) -> Self {
        let mut text = String::new();
        let _ = write!(
            text,
            "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{}\">",
            escape(name)
        );
        Self {
            text,
            x,
            y,
            height,
            left,
        }
    }

    fn px(&self, x: f64) -> f64 {
        self.left + self.x.at(x) * (WIDTH - self.left - RIGHT)
    }

    fn py(&self, y: f64) -> f64 {
        let bottom = self.height - BOTTOM;
        bottom - self.y.at(y) * (bottom - TOP)
    }

    /// Lines across, each with its label on the left.
    pub(super) fn rows(&mut self, ticks: &[(f64, String)]) {
        for (y, label) in ticks {
            let (y, left, right) = (self.py(*y), self.left, WIDTH - RIGHT);
            let _ = write!(
                self.text,
                "<line class=\"grid\" x1=\"{left:.1}\" x2=\"{right:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                left - 6.0,
                y + 4.0,
                escape(label)
            );
        }
    }

    /// Labels below, and what they count.
    pub(super) fn columns(&mut self, ticks: &[(f64, String)], title: &str) {
        let y = self.height - BOTTOM + 15.0;
        for (x, label) in ticks {
            // Within the picture, also at its edge.
            let half = CHARACTER / 2.0 * label.chars().map(|_| 1.0).sum::<f64>();
            let _ = write!(
                self.text,
                "<text class=\"tick\" x=\"{:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">{}</text>",
                self.px(*x).min(WIDTH - half),
                escape(label)
            );
        }
        let _ = write!(
            self.text,
            "<text class=\"axis\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            WIDTH - RIGHT,
            self.height - 3.0,
            escape(title)
        );
    }

    /// A line through `points`.
    pub(super) fn line(&mut self, class: &str, points: impl Iterator<Item = (f64, f64)>) {
        let points = points.fold(String::new(), |mut text, (x, y)| {
            let _ = write!(text, "{:.1},{:.1} ", self.px(x), self.py(y));
            text
        });
        let _ = write!(
            self.text,
            "<polyline class=\"line {class}\" points=\"{}\"/>",
            points.trim_end()
        );
    }

    /// A dot, which says `title` when pointed at.
    pub(super) fn dot(&mut self, class: &str, x: f64, y: f64, title: &str) {
        let _ = write!(
            self.text,
            "<circle class=\"dot {class}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"4\"><title>{}</title></circle>",
            self.px(x),
            self.py(y),
            escape(title)
        );
    }

    /// A bar along `y` from `from` to `to`, never too thin to be seen.
    pub(super) fn bar(&mut self, class: &str, from: f64, to: f64, y: f64, title: &str) {
        const THICK: f64 = 12.0;
        let (left, right) = (self.px(from), self.px(to));
        let _ = write!(
            self.text,
            "<rect class=\"bar {class}\" x=\"{left:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{THICK}\" rx=\"2\"><title>{}</title></rect>",
            self.py(y) - THICK / 2.0,
            (right - left).max(3.0),
            escape(title)
        );
    }

    /// A line along `y` from one end to the other, each with a stroke across.
    pub(super) fn whisker(&mut self, class: &str, ends: (f64, f64), y: f64, title: &str) {
        const HALF: f64 = 8.0;
        let (left, right, y) = (self.px(ends.0), self.px(ends.1), self.py(y));
        let (above, below) = (y - HALF, y + HALF);
        let _ = write!(
            self.text,
            "<path class=\"whisker {class}\" d=\"M{left:.1} {y:.1}H{right:.1}M{left:.1} {above:.1}V{below:.1}M{right:.1} {above:.1}V{below:.1}\"><title>{}</title></path>",
            escape(title)
        );
    }

    /// A line from top to bottom.
    pub(super) fn upright(&mut self, class: &str, x: f64, title: &str) {
        let x = self.px(x);
        let _ = write!(
            self.text,
            "<line class=\"{class}\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{:.1}\"><title>{}</title></line>",
            self.height - BOTTOM,
            escape(title)
        );
    }

    /// The whole.
    pub(super) fn finish(mut self) -> String {
        self.text.push_str("</svg>");
        self.text
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ticks_are_round_and_within_the_scale() {
        assert_eq!(
            Scale::from_zero(0.87).ticks(),
            [0.0, 0.2, 0.4, 0.6000000000000001, 0.8, 1.0]
        );
        assert_eq!(
            Scale::decades(30.0, 2_000.0).ticks(),
            [10.0, 100.0, 1_000.0, 10_000.0]
        );
        assert_eq!(Scale::from_zero(0.0).ticks().last(), Some(&1.0));
    }

    #[test]
    fn text_cannot_become_markup() {
        let mut chart = Chart::new(
            "<a>",
            Scale::from_zero(1.0),
            Scale::from_zero(1.0),
            100.0,
            50.0,
        );
        chart.dot("x", 1.0, 1.0, "</title><script>\"&'");
        let svg = chart.finish();
        assert!(!svg.contains("<script") && !svg.contains("<a>"));
    }

    proptest! {
        #[test]
        fn every_value_lands_inside_whatever_the_scale(low in -1e9_f64..1e9, high in -1e9_f64..1e9, value in -1e12_f64..1e12) {
            for scale in [Scale::from_zero(high.abs()), Scale::between(low, high), Scale::decades(low.abs(), high.abs())] {
                let at = scale.at(value);
                prop_assert!((0.0..=1.0).contains(&at), "{scale:?} {at}");
                prop_assert!(scale.ticks().len() <= TICKS_MAX);
            }
        }
    }
}
