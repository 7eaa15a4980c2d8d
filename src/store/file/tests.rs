//! Power and processes that die at every step of a write.

use fastrand::Rng;

use super::*;
use crate::store::mortal::{Life, Model, Mortal};
use crate::store::segment::tests::anything;

/// The batches of one history, the same for every death.
fn history(seed: u64) -> Vec<Batch> {
    let mut random = Rng::with_seed(seed);
    (1..=12).map(|lived| anything(&mut random, lived)).collect()
}

/// Lives through a history on a disk that dies: what was told durable, and what was under way.
fn live(disk: &Mortal, batches: &[Batch]) -> (Model, Option<Model>) {
    let mut told = Model::default();
    let Ok((file, _)) = guarded(|| StateFile::open_with(disk.clone())) else {
        return (told, None);
    };
    for batch in batches {
        let mut next = told.clone();
        next.apply(batch);
        if guarded(|| file.commit(batch, 0)).is_err() {
            return (told, Some(next));
        }
        told = next;
    }
    (told, None)
}

#[test]
fn whatever_was_told_durable_is_there_and_nothing_is_there_by_half_at_every_death() {
    for seed in 0..3 {
        let batches = history(seed);
        let mut random = Rng::with_seed(seed);
        let mut deaths = 0;
        loop {
            let disk = Mortal::new(Vec::new(), Life::of(deaths));
            let (told, under_way) = live(&disk, &batches);
            let has_survived = under_way.is_none() && !disk.life().is_over();
            for image in [disk.after_kill(), disk.after_power_loss(&mut random)] {
                let opened = guarded(|| StateFile::open_with(Mortal::new(image, Life::eternal())));
                let rows = match opened {
                    Ok((_, rows)) => Model::of(rows),
                    // The disk died before there was a file: it is set aside, and nothing is lost.
                    Err(Unusable::Damaged(_)) if told == Model::default() => Model::default(),
                    Err(error) => panic!("seed {seed}, death {deaths}: {error}"),
                };
                assert!(
                    rows == told || Some(&rows) == under_way.as_ref(),
                    "seed {seed}, death {deaths}: {} pins, {} told",
                    rows.pins.len(),
                    told.pins.len()
                );
            }
            if has_survived {
                break;
            }
            deaths += 1;
        }
        assert!(
            deaths > 50,
            "{deaths} deaths are few for {} commits",
            batches.len()
        );
    }
}

#[test]
fn a_file_of_a_later_version_is_told_from_a_damaged_one() {
    let disk = Mortal::new(Vec::new(), Life::eternal());
    let (file, _) = StateFile::open_with(disk.clone()).unwrap();
    let transaction = file.0.begin_write().unwrap();
    transaction
        .open_table(META)
        .unwrap()
        .insert("version", VERSION + 1)
        .unwrap();
    transaction.commit().unwrap();
    drop(file);
    let image = disk.after_kill();
    let error = StateFile::open_with(Mortal::new(image, Life::eternal())).unwrap_err();
    assert!(matches!(error, Unusable::Newer(_)), "{error}");
}

#[test]
fn a_file_that_was_cut_flipped_or_scrawled_on_is_read_rightly_or_refused() {
    let batches = history(7);
    let disk = Mortal::new(Vec::new(), Life::eternal());
    let (told, _) = live(&disk, &batches);
    let image = disk.after_kill();
    let mut random = Rng::with_seed(7);
    let read = |image: Vec<u8>| {
        let opened = guarded(|| StateFile::open_with(Mortal::new(image, Life::eternal())));
        opened.map(|(_, rows)| Model::of(rows))
    };
    assert_eq!(read(image.clone()).unwrap(), told);
    let mut refused = 0;
    for round in 0..120 {
        let mut image = image.clone();
        match round % 3 {
            0 => image.truncate(random.usize(1..image.len())),
            1 => {
                let place = random.usize(..image.len());
                image[place] ^= 1 << random.u8(..8);
            }
            _ => {
                let place = random.usize(..image.len());
                let end = (place + random.usize(..5000)).min(image.len());
                image[place..end].fill_with(|| random.u8(..));
            }
        }
        match read(image) {
            // Where nothing is kept any change is harmless.
            Ok(rows) => assert_eq!(rows, told, "round {round}"),
            Err(error) => {
                refused += 1;
                assert!(
                    !matches!(error, Unusable::Disk(_)),
                    "round {round}: {error}"
                );
            }
        }
    }
    assert!(refused > 20, "{refused}");
}
