//! A window of time that comes every week or every day, such as `Sat 02:00-05:00 Europe/Paris`.
//!
//! Pure: the moment is an argument. A window whose end is not after its beginning runs over midnight
//! and belongs to the day on which it begins. Where clocks change, wall-clock times count as the people
//! of the zone read them.

use std::fmt;

use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Timestamp};

/// A window of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// As in the file.
    text: String,
    /// The day on which it begins; `None`: every day.
    day: Option<Weekday>,
    from: Time,
    to: Time,
    zone: TimeZone,
}

impl Window {
    /// Reads a window; day and zone may be left out. Without a zone it is the system's.
    ///
    /// # Errors
    ///
    /// The part that means nothing.
    pub(super) fn parse(text: &str) -> Result<Self, Mistake> {
        let mut words = text.split(' ').peekable();
        let day = match words.peek().and_then(|word| weekday(word)) {
            Some(day) => {
                words.next();
                day
            }
            None => None,
        };
        let range = words.next().and_then(range).ok_or(Mistake::Shape)?;
        let zone = match words.next() {
            None => TimeZone::try_system().unwrap_or(TimeZone::UTC),
            Some(name) if is_zone_name(name) => {
                TimeZone::get(name).map_err(|_| Mistake::Zone(name.to_owned()))?
            }
            Some(_) => return Err(Mistake::Shape),
        };
        if words.next().is_some() {
            return Err(Mistake::Shape);
        }
        Ok(Self {
            text: text.to_owned(),
            day,
            from: range.0,
            to: range.1,
            zone,
        })
    }

    /// Whether `at` lies within it: its first moment does, its last does not.
    #[must_use]
    pub fn contains(&self, at: Timestamp) -> bool {
        let local = at.to_zoned(self.zone.clone());
        let (time, today) = (local.time(), local.weekday());
        if self.from < self.to {
            return self.begins_on(today) && self.from <= time && time < self.to;
        }
        (self.begins_on(today) && self.from <= time)
            || (self.begins_on(today.previous()) && time < self.to)
    }

    /// When it begins next, `at` or later; `None` at the end of time.
    #[must_use]
    pub fn next_after(&self, at: Timestamp) -> Option<Timestamp> {
        let local = at.to_zoned(self.zone.clone());
        (0..=7).find_map(|days| {
            let date = local.date().checked_add(Span::new().days(days)).ok()?;
            let begin = date.to_datetime(self.from).to_zoned(self.zone.clone());
            let begin = begin.ok()?.timestamp();
            (self.begins_on(date.weekday()) && begin >= at).then_some(begin)
        })
    }

    /// How long until it begins, as [`Window::next_after`].
    #[must_use]
    pub fn begins_in(&self, at: Timestamp) -> Option<SignedDuration> {
        Some(self.next_after(at)?.duration_since(at))
    }

    fn begins_on(&self, day: Weekday) -> bool {
        self.day.is_none_or(|own| own == day)
    }
}

impl fmt::Display for Window {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// Why a text is no window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mistake {
    /// It is not a day, a range and a zone.
    Shape,
    /// The system knows no such zone.
    Zone(String),
}

/// A day, or `daily`.
fn weekday(word: &str) -> Option<Option<Weekday>> {
    Some(match word {
        "daily" => None,
        "Mon" => Some(Weekday::Monday),
        "Tue" => Some(Weekday::Tuesday),
        "Wed" => Some(Weekday::Wednesday),
        "Thu" => Some(Weekday::Thursday),
        "Fri" => Some(Weekday::Friday),
        "Sat" => Some(Weekday::Saturday),
        "Sun" => Some(Weekday::Sunday),
        _ => return None,
    })
}

/// `02:00-05:00`.
fn range(word: &str) -> Option<(Time, Time)> {
    let (from, to) = word.split_once('-')?;
    let (from, to) = (time(from)?, time(to)?);
    (from != to).then_some((from, to))
}

/// `HH:MM`.
fn time(text: &str) -> Option<Time> {
    let (hour, minute) = text.split_once(':')?;
    let two = |part: &str| {
        let is_number = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| part.parse().ok()).flatten()
    };
    Time::new(two(hour)?, two(minute)?, 0, 0).ok()
}

/// Names of the time zone database; nothing that could be a path out of it.
fn is_zone_name(word: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || "/_+-".contains(c);
    word.starts_with(|c: char| c.is_ascii_alphabetic()) && word.chars().all(legal)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(text: &str) -> Window {
        Window::parse(text).unwrap_or_else(|mistake| panic!("{text}: {mistake:?}"))
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_window_is_a_day_a_range_and_a_zone() {
        for good in [
            "Sat 02:00-05:00 Europe/Paris",
            "daily 02:00-05:00",
            "02:00-05:00",
            "23:00-01:00 UTC",
        ] {
            assert_eq!(window(good).to_string(), good);
        }
        for bad in [
            "",
            "Sat",
            "Saturday 02:00-05:00",
            "Sat 02:00",
            "Sat 02:00-02:00",
            "Sat 2:00-05:00",
            "Sat 02:00-24:00",
            "Sat 02:60-05:00",
            "Sat 02:00-05:00 Europe/Paris x",
            "Sat 02:00-05:00 ../etc/passwd",
            "Sat  02:00-05:00",
        ] {
            assert_eq!(Window::parse(bad), Err(Mistake::Shape), "{bad}");
        }
        let unknown = Window::parse("Sat 02:00-05:00 Europe/Atlantis");
        assert_eq!(unknown, Err(Mistake::Zone("Europe/Atlantis".into())));
    }

    #[test]
    fn it_holds_from_its_first_moment_to_before_its_last_as_clocks_of_the_zone_show() {
        let paris = window("Sat 02:00-05:00 Europe/Paris");
        // Winter time is an hour ahead of UTC.
        assert!(!paris.contains(at("2026-11-28T00:59:59Z")));
        assert!(paris.contains(at("2026-11-28T01:00:00Z")));
        assert!(paris.contains(at("2026-11-28T03:59:59Z")));
        assert!(!paris.contains(at("2026-11-28T04:00:00Z")));
        assert!(!paris.contains(at("2026-11-27T02:00:00Z")));
        // Summer time, two hours.
        assert!(paris.contains(at("2026-07-04T00:00:00Z")));
    }

    #[test]
    fn over_midnight_it_belongs_to_the_day_on_which_it_begins() {
        let night = window("Fri 23:00-01:00 UTC");
        assert!(night.contains(at("2026-11-27T23:30:00Z")));
        assert!(night.contains(at("2026-11-28T00:59:00Z")));
        assert!(!night.contains(at("2026-11-28T01:00:00Z")));
        assert!(!night.contains(at("2026-11-27T00:30:00Z")));
        assert!(!night.contains(at("2026-11-28T23:30:00Z")));
    }

    #[test]
    fn the_next_beginning_is_found_within_a_week() {
        let paris = window("Sat 02:00-05:00 Europe/Paris");
        let next = paris.next_after(at("2026-11-24T12:00:00Z"));
        assert_eq!(next, Some(at("2026-11-28T01:00:00Z")));
        let next = paris.next_after(at("2026-11-28T01:00:01Z"));
        assert_eq!(next, Some(at("2026-12-05T01:00:00Z")));
        let daily = window("23:00-01:00 UTC");
        let next = daily.next_after(at("2026-11-24T22:00:00Z"));
        assert_eq!(next, Some(at("2026-11-24T23:00:00Z")));
    }
}
