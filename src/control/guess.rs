//! What a partner seems to run, by its hello and by how it comes and goes.
//!
//! A suggestion beside what is configured: nothing is decided by it. The hello weighs most; habits speak
//! where it says nothing, and against it where they are plain.

use std::time::Duration;

use super::chronicle::Chapter;
use crate::inspect::tls::Era;
use crate::partner::habit::Habit;

/// A suggestion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Guess {
    /// From which time its software is.
    pub(super) era: Era,
    /// Why, in words.
    pub(super) because: Vec<String>,
}

/// What the partner of `chapter` seems to run, which has `live` connections now.
pub(super) fn guess(chapter: &Chapter, live: u64) -> Guess {
    let mut scales = Scales::default();
    weigh_hello(&mut scales, chapter);
    weigh_habit(&mut scales, &chapter.habit, live);
    let heaviest = ERAS.into_iter().zip(scales.weights);
    let heaviest = heaviest.max_by_key(|(_, weight)| *weight);
    let era = heaviest.filter(|(_, weight)| *weight >= ENOUGH);
    Guess {
        era: era.map_or(Era::Unknown, |(era, _)| era),
        because: scales.because,
    }
}

#[derive(Debug, Default)]
struct Scales {
    weights: [u8; ERAS.len()],
    because: Vec<String>,
}

impl Scales {
    fn put(&mut self, era: Era, weight: u8, because: String) {
        for (known, sum) in ERAS.into_iter().zip(&mut self.weights) {
            if known == era {
                *sum += weight;
            }
        }
        self.because.push(because);
    }
}

fn weigh_hello(scales: &mut Scales, chapter: &Chapter) {
    let spoken = &chapter.tls;
    let Some(offers) = spoken.offers else { return };
    let version = offers.label();
    let says = match spoken.era {
        Era::Ocs => {
            format!("its hello offers TLS {version} and old ciphers first, without a server name")
        }
        Era::Lync => {
            format!("its hello offers TLS {version} as Windows Server 2008 R2 to 2012 R2 do")
        }
        Era::Modern => format!("its hello offers TLS {version} as stacks since 2016 do"),
        Era::Scanner => "its hello offers everything or nothing: it asks what we accept".into(),
        Era::Unknown => format!("its hello offers TLS {version}, which says little"),
    };
    scales.put(spoken.era, HELLO, says);
}

fn weigh_habit(scales: &mut Scales, habit: &Habit, live: u64) {
    let (visits, empty) = (habit.visits(), habit.empty());
    if empty >= EMPTY_MIN && empty * 10 >= visits * 9 {
        let says = format!("{empty} of its last {visits} connections said nothing");
        scales.put(Era::Scanner, PLAIN_HABIT, says);
    }
    let addresses = habit.addresses();
    // Where there is one address, those that are open now are its, too.
    let live = usize::try_from(live).unwrap_or(usize::MAX);
    let at_once = match addresses {
        0 | 1 => habit.at_once().max(live),
        _ => habit.at_once(),
    };
    if addresses > EDGE_ADDRESSES {
        let says = format!("it comes from {addresses} addresses, as clouds do");
        scales.put(Era::Modern, HABIT, says);
    } else if at_once > EDGE_CONNECTIONS {
        let says = format!(
            "{at_once} connections at once from one address: an Access Edge opens up to {EDGE_CONNECTIONS}"
        );
        scales.put(Era::Modern, HABIT, says);
    }
    if let Some((median, count)) = habit.away() {
        let seconds = median.as_secs_f64();
        let says = format!("back {seconds:.1} s after it was cut off (median of {count})");
        let waits = count >= RETURNS_MIN && median > WAITS;
        match waits {
            true => scales.put(
                Era::Ocs,
                HABIT,
                format!("{says}: it waits until it has something to say"),
            ),
            false => scales.because.push(says),
        }
    }
}

const ERAS: [Era; 4] = [Era::Ocs, Era::Lync, Era::Modern, Era::Scanner];
/// What it takes to suggest anything.
const ENOUGH: u8 = 2;
const HELLO: u8 = 3;
const HABIT: u8 = 2;
/// Whoever never says anything is no partner, whatever its hello looks like.
const PLAIN_HABIT: u8 = 4;
const EMPTY_MIN: usize = 5;
/// An Access Edge opens one to four connections to a partner (`OutgoingTls`, domain.md section 0).
const EDGE_CONNECTIONS: usize = 4;
/// More nodes than an Edge pool usually has.
const EDGE_ADDRESSES: usize = 8;
const RETURNS_MIN: usize = 2;
const WAITS: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Moment;
    use crate::inspect::tls::Version;
    use crate::partner::habit::Parting;

    fn at(seconds: u64) -> Moment {
        Moment::from_micros(seconds * 1_000_000)
    }

    fn visits(chapter: &mut Chapter, count: u8, addresses: u8, parting: Parting) {
        for number in 0..count {
            let from = [192, 0, 2, number % addresses].into();
            chapter.habit.ended(from, at(1), at(9), parting);
        }
    }

    fn hello(era: Era) -> Chapter {
        let mut chapter = Chapter::default();
        chapter.tls.era = era;
        chapter.tls.offers = Some(Version::TLS_1_0);
        chapter
    }

    #[test]
    fn nothing_is_suggested_of_whom_nothing_is_known() {
        let told = guess(&Chapter::default(), 0);
        assert_eq!((told.era, told.because.len()), (Era::Unknown, 0));
        let told = guess(&hello(Era::Unknown), 4);
        assert_eq!(
            told.era,
            Era::Unknown,
            "four connections are an Access Edge's: {told:?}"
        );
    }

    #[test]
    fn the_hello_decides_unless_habits_are_plain() {
        assert_eq!(guess(&hello(Era::Ocs), 2).era, Era::Ocs);
        let mut ocs = hello(Era::Ocs);
        visits(&mut ocs, 20, 10, Parting::Own);
        assert_eq!(guess(&ocs, 0).era, Era::Ocs, "many addresses weigh less");
        let mut probing = hello(Era::Ocs);
        visits(&mut probing, 9, 1, Parting::Empty);
        assert_eq!(guess(&probing, 0).era, Era::Scanner);
    }

    #[test]
    fn habits_speak_where_the_hello_does_not() {
        let mut cloud = Chapter::default();
        visits(&mut cloud, 20, 10, Parting::Own);
        assert_eq!(guess(&cloud, 0).era, Era::Modern);
        let crowd = guess(&Chapter::default(), 5);
        assert_eq!(crowd.era, Era::Modern, "{crowd:?}");

        let mut quiet = Chapter::default();
        for round in 0..2 {
            let end = at(100 * round + 10);
            quiet
                .habit
                .ended([192, 0, 2, 1].into(), at(100 * round), end, Parting::Cut);
        }
        quiet.habit.began(at(300));
        let told = guess(&quiet, 1);
        assert_eq!(told.era, Era::Ocs, "{told:?}");
        assert!(told.because[0].starts_with("back 190.0 s"), "{told:?}");
    }
}
