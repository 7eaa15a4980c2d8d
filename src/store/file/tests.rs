//! Power and processes that die at every step of a write.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use fastrand::Rng;

use super::*;

/// A disk: what is written stays in a cache until it is synced.
#[derive(Clone, Debug)]
struct Mortal(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// What survives for certain.
    durable: Vec<u8>,
    /// What was written and not synced since.
    cached: Vec<(u64, Vec<u8>)>,
    seen: Vec<u8>,
    /// Operations that it lives on.
    left: usize,
}

impl Mortal {
    fn new(image: Vec<u8>, left: usize) -> Self {
        Self(Arc::new(Mutex::new(State {
            seen: image.clone(),
            durable: image,
            cached: Vec::new(),
            left,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// One operation that changes something; it fails once the disk is dead.
    fn live(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        if state.left == 0 {
            return Err(io::Error::other("the disk is dead"));
        }
        state.left -= 1;
        Ok(state)
    }

    /// What the next instance finds, where the process was killed.
    fn after_kill(&self) -> Vec<u8> {
        self.state().seen.clone()
    }

    /// What it finds where the power failed: any of the writes that were not synced, each perhaps torn.
    fn after_power_loss(&self, random: &mut Rng) -> Vec<u8> {
        let state = self.state();
        let mut image = state.durable.clone();
        image.resize(state.seen.len(), 0);
        for (offset, bytes) in &state.cached {
            let kept = match random.u8(..3) {
                0 => 0,
                1 => bytes.len(),
                _ => random.usize(..=bytes.len() / 512) * 512,
            };
            let kept = kept.min(bytes.len());
            put(&mut image, *offset, &bytes[..kept]);
        }
        image
    }
}

fn put(image: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let offset = usize::try_from(offset).unwrap();
    let end = offset + bytes.len();
    if image.len() < end {
        image.resize(end, 0);
    }
    image[offset..end].copy_from_slice(bytes);
}

impl StorageBackend for Mortal {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state().seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).unwrap();
        let state = self.state();
        let bytes = state.seen.get(offset..offset + out.len());
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).unwrap();
        self.live()?.seen.resize(len, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.live()?;
        state.durable = state.seen.clone();
        state.cached.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.live()?;
        put(&mut state.seen, offset, data);
        state.cached.push((offset, data.into()));
        Ok(())
    }
}

/// What a naive store would hold.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    pins: BTreeMap<Vec<u8>, Vec<u8>>,
    pages: BTreeMap<(String, String), Vec<u8>>,
}

impl Model {
    fn apply(&mut self, batch: &Batch) {
        if batch.are_all_pins {
            self.pins.clear();
        }
        for (key, value) in &batch.pins {
            match value {
                Some(value) => self.pins.insert(key.clone(), value.clone()),
                None => self.pins.remove(key),
            };
        }
        for ((book, page), value) in &batch.pages {
            let key = ((*book).to_owned(), page.clone());
            match value {
                Some(value) => self.pages.insert(key, value.clone()),
                None => self.pages.remove(&key),
            };
        }
    }

    fn of(rows: Rows) -> Self {
        let pages = rows.pages.into_iter();
        Self {
            pins: rows.pins.into_iter().collect(),
            pages: pages
                .map(|(book, page, value)| ((book, page), value))
                .collect(),
        }
    }
}

/// The batches of one history, the same for every death.
fn history(seed: u64) -> Vec<Batch> {
    let mut random = Rng::with_seed(seed);
    let value = |random: &mut Rng| {
        let length = random.usize(..900);
        let bytes = std::iter::repeat_with(|| random.u8(..));
        bytes.take(length).collect::<Vec<_>>()
    };
    let batch = |number: u64| {
        let mut batch = Batch {
            lived: number,
            are_all_pins: random.u8(..8) == 0,
            ..Batch::default()
        };
        for _ in 0..random.usize(..12) {
            let key = vec![random.u8(..24); 9];
            let value = (random.u8(..4) > 0).then(|| value(&mut random));
            batch.pins.push((key, value));
        }
        for _ in 0..random.usize(..3) {
            let key = ("ledger", random.u8(..6).to_string());
            let value = (random.u8(..4) > 0).then(|| value(&mut random));
            batch.pages.insert(key, value);
        }
        batch
    };
    (1..=12).map(batch).collect()
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
        if guarded(|| file.commit(batch)).is_err() {
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
            let disk = Mortal::new(Vec::new(), deaths);
            let (told, under_way) = live(&disk, &batches);
            let has_survived = under_way.is_none() && disk.state().left > 0;
            for image in [disk.after_kill(), disk.after_power_loss(&mut random)] {
                let opened = guarded(|| StateFile::open_with(Mortal::new(image, usize::MAX)));
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
    let disk = Mortal::new(Vec::new(), usize::MAX);
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
    let error = StateFile::open_with(Mortal::new(image, usize::MAX)).unwrap_err();
    assert!(matches!(error, Unusable::Newer(_)), "{error}");
}

#[test]
fn a_file_that_was_cut_flipped_or_scrawled_on_is_read_rightly_or_refused() {
    let batches = history(7);
    let disk = Mortal::new(Vec::new(), usize::MAX);
    let (told, _) = live(&disk, &batches);
    let image = disk.after_kill();
    let mut random = Rng::with_seed(7);
    let read = |image: Vec<u8>| {
        let opened = guarded(|| StateFile::open_with(Mortal::new(image, usize::MAX)));
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
