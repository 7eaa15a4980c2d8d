//! Quantities as people write them: durations, sizes, rates, shares.
//!
//! Pure functions from text to value; `None` where the text means nothing. Each is bounded, so
//! that no sum of two of them overflows later.

use std::time::Duration;

use crate::config::model::{Flap, Rate};

/// The longest duration that can be written.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// `400ms`, `30s`, `1h30m`, `2d`.
#[must_use]
pub fn duration(text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() || text.is_empty() {
        let (count, unit_on) = number(rest)?;
        let letters = unit_on.find(|c: char| !c.is_ascii_lowercase());
        let (unit, after) = unit_on.split_at(letters.unwrap_or(unit_on.len()));
        let unit_ms: u64 = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        total = total.checked_add(Duration::from_millis(count.checked_mul(unit_ms)?))?;
        rest = after;
    }
    (total <= LONGEST).then_some(total)
}

/// A duration as one would write it; the inverse of [`duration`] for whole milliseconds.
#[must_use]
pub fn show_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    for (unit, unit_ms) in [
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1000),
    ] {
        if millis >= unit_ms && millis.is_multiple_of(unit_ms) {
            return format!("{}{unit}", millis / unit_ms);
        }
    }
    format!("{millis}ms")
}

/// `256MiB`, `5000KB`, `64B`.
pub(super) fn bytes(text: &str) -> Option<u64> {
    let (count, unit) = number(text)?;
    let unit: u64 = match unit {
        "B" => 1,
        "KB" => 1000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    count.checked_mul(unit)
}

/// A size as one would write it; the inverse of [`bytes`].
pub(super) fn show_bytes(bytes: u64) -> String {
    for (unit, size) in [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
        if bytes >= size && bytes.is_multiple_of(size) {
            return format!("{}{unit}", bytes / size);
        }
    }
    format!("{bytes}B")
}

/// `200/s`, `30/m`.
#[must_use]
pub fn rate(text: &str) -> Option<Rate> {
    let (count, unit) = number(text)?;
    let per = match unit {
        "/s" => Duration::from_secs(1),
        "/m" => Duration::from_secs(60),
        _ => return None,
    };
    let count = u32::try_from(count).ok().filter(|&count| count > 0)?;
    Some(Rate { count, per })
}

/// `70%`, from 1 to 100.
pub(super) fn percent(text: &str) -> Option<u8> {
    let (count, unit) = number(text)?;
    let share = u8::try_from(count).ok()?;
    (unit == "%" && (1..=100).contains(&share)).then_some(share)
}

/// `3 in 10m, hold 5m`.
pub(super) fn flap(text: &str) -> Option<Flap> {
    let (downs, rest) = text.split_once(" in ")?;
    let (within, hold) = rest.split_once(", hold ")?;
    let (downs, unit) = number(downs)?;
    let downs = u32::try_from(downs).ok().filter(|&downs| downs > 0)?;
    let within = duration(within)?;
    let hold = duration(hold)?;
    (unit.is_empty() && !within.is_zero()).then_some(Flap {
        downs,
        within,
        hold,
    })
}

/// The digits that `text` begins with, and the rest.
fn number(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit());
    let (digits, rest) = text.split_at(end.unwrap_or(text.len()));
    Some((digits.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_numbers_with_units() {
        let check = |text: &str, expected: Option<u64>| {
            assert_eq!(
                duration(text),
                expected.map(Duration::from_millis),
                "{text}"
            );
        };
        check("400ms", Some(400));
        check("0s", Some(0));
        check("1h30m", Some(5_400_000));
        check("2h", Some(7_200_000));
        check("366d", Some(366 * 86_400_000));
        for bad in [
            "",
            "400",
            "s",
            "-1s",
            "1.5s",
            "10 s",
            "5min",
            "367d",
            "1s ",
            "99999999999999999999h",
        ] {
            check(bad, None);
        }
        check("18446744073709551615ms", None);
    }

    #[test]
    fn sizes_rates_and_shares_are_numbers_with_units() {
        assert_eq!(bytes("256MiB"), Some(256 << 20));
        assert_eq!(bytes("5000KB"), Some(5_000_000));
        assert_eq!(bytes("0B"), Some(0));
        for bad in ["", "256", "5kb", "18446744073709551615GiB", "MiB"] {
            assert_eq!(bytes(bad), None, "{bad}");
        }
        let per = Duration::from_secs(1);
        assert_eq!(rate("200/s"), Some(Rate { count: 200, per }));
        assert_eq!(rate("30/m").map(|rate| rate.per), Some(per * 60));
        for bad in ["0/s", "200", "200/h", "/s", "4294967296/s"] {
            assert_eq!(rate(bad), None, "{bad}");
        }
        assert_eq!(percent("70%"), Some(70));
        for bad in ["0%", "101%", "70", "%", "300%"] {
            assert_eq!(percent(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_flap_limit_names_a_count_a_time_and_a_hold() {
        let expected = Flap {
            downs: 3,
            within: Duration::from_secs(600),
            hold: Duration::from_secs(300),
        };
        assert_eq!(flap("3 in 10m, hold 5m"), Some(expected));
        for bad in [
            "3 in 10m",
            "0 in 10m, hold 5m",
            "3x in 1m, hold 1m",
            "3 in 0s, hold 5m",
            "",
        ] {
            assert_eq!(flap(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn printing_and_parsing_a_duration_gives_it_back(millis in 0..=LONGEST.as_secs() * 1000) {
            let written = Duration::from_millis(millis);
            prop_assert_eq!(duration(&show_duration(written)), Some(written));
        }

        #[test]
        fn printing_and_parsing_a_size_gives_it_back(size in any::<u64>(), shift in 0..64_u32) {
            prop_assert_eq!(bytes(&show_bytes(size >> shift << shift)), Some(size >> shift << shift));
        }

        #[test]
        fn no_text_makes_a_quantity_panic(text in ".{0,30}") {
            let _ = (duration(&text), bytes(&text), rate(&text), percent(&text));
            let _ = flap(&text);
        }
    }
}
