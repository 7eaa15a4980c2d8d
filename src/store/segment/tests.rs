//! Segments that were cut, flipped, scrawled on, or are others.

use fastrand::Rng;

use super::*;

/// A batch of anything.
pub(in crate::store) fn anything(random: &mut Rng, lived: u64) -> Batch {
    let value = |random: &mut Rng| {
        let length = random.usize(..900);
        let bytes = std::iter::repeat_with(|| random.u8(..));
        bytes.take(length).collect::<Vec<_>>()
    };
    let mut batch = Batch {
        lived,
        are_all_pins: random.u8(..8) == 0,
        ..Batch::default()
    };
    for _ in 0..random.usize(..12) {
        let key = vec![random.u8(..24); 9];
        // A batch of all pins has none to remove.
        let is_there = batch.are_all_pins || random.u8(..4) > 0;
        let value = is_there.then(|| value(random));
        batch.pins.insert(key, value);
    }
    for _ in 0..random.usize(..3) {
        let key = ("ledger".into(), random.u8(..6).to_string());
        let value = (random.u8(..4) > 0).then(|| value(random));
        batch.pages.insert(key, value);
    }
    batch
}

/// A segment of a few batches, and where each of its entries ends.
fn segment(number: u64, random: &mut Rng) -> (Vec<u8>, Vec<Batch>, Vec<usize>) {
    let follows = End {
        number: number - 1,
        length: 1234,
    };
    let (mut bytes, mut ends) = (header(number, follows), Vec::new());
    let batches: Vec<_> = (1..8).map(|lived| anything(random, lived)).collect();
    for batch in &batches {
        bytes.extend(entry(number, bytes.len() as u64, batch).unwrap());
        ends.push(bytes.len());
    }
    (bytes, batches, ends)
}

#[test]
fn what_was_written_is_read_and_an_entry_that_is_cut_is_not_there() {
    let (bytes, batches, ends) = segment(7, &mut Rng::with_seed(1));
    for length in 0..=bytes.len() {
        let read = read(7, &bytes[..length]).unwrap();
        let whole = ends.iter().take_while(|end| **end <= length).count();
        assert_eq!(read.batches, batches[..whole], "cut to {length}");
        assert_eq!(read.follows.length == 1234, length >= HEADER);
        assert!(read.intact <= length);
    }
}

#[test]
fn a_bit_that_flips_ends_the_segment_before_its_entry() {
    let mut random = Rng::with_seed(2);
    let (bytes, batches, ends) = segment(7, &mut random);
    for place in HEADER..bytes.len() {
        let mut bytes = bytes.clone();
        bytes[place] ^= 1 << random.u8(..8);
        let whole = ends.iter().take_while(|end| **end <= place).count();
        let read = read(7, &bytes).unwrap();
        assert_eq!(read.batches, batches[..whole], "flipped at {place}");
    }
    for place in 0..HEADER {
        let mut bytes = bytes.clone();
        bytes[place] ^= 1 << random.u8(..8);
        assert!(read(7, &bytes).is_err(), "flipped at {place}");
    }
}

#[test]
fn what_another_segment_left_on_the_blocks_is_no_entry() {
    let mut random = Rng::with_seed(3);
    let (old, ..) = segment(6, &mut random);
    let (mut new, batches, _) = segment(7, &mut random);
    new.extend(&old[HEADER..]);
    assert_eq!(read(7, &new).unwrap().batches, batches);
    assert_eq!(read(7, &old), Err(Unreadable::Foreign));
    // Nor is an entry of its own in another place.
    let twice = [&new[..], &new[HEADER..]].concat();
    assert_eq!(read(7, &twice).unwrap().batches, batches);
}

#[test]
fn a_beginning_that_never_reached_the_disk_is_an_empty_segment() {
    let (bytes, ..) = segment(7, &mut Rng::with_seed(4));
    for never in [&[][..], &bytes[..HEADER - 1], &[0; 9000]] {
        assert_eq!(read(7, never), Ok(Segment::default()));
    }
    assert_eq!(read(7, &[b'x'; 9000]), Err(Unreadable::Foreign));
}

#[test]
fn a_later_format_is_told_from_damage() {
    let mut bytes = header(7, End::default());
    bytes[8] = 3;
    assert_eq!(read(7, &bytes), Err(Unreadable::Newer(3)));
}
