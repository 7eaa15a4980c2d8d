//! Disks that die, for tests.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use fastrand::Rng;
use redb::StorageBackend;

use super::batch::Batch;
use super::file::Rows;
use super::shelf::Shelf;

/// Operations that succeed, and how many fail after them; what shares a life dies in the same moment.
#[derive(Clone, Debug)]
pub(super) struct Life(Arc<(AtomicUsize, AtomicUsize)>);

impl Life {
    /// Dies after so many operations, for good.
    pub(super) fn of(left: usize) -> Self {
        Self::with_illness(left, usize::MAX)
    }

    pub(super) fn eternal() -> Self {
        Self::of(usize::MAX)
    }

    /// After `left` operations so many fail, and all others succeed.
    pub(super) fn with_illness(left: usize, failing: usize) -> Self {
        Self(Arc::new((left.into(), failing.into())))
    }

    pub(super) fn live(&self) -> io::Result<()> {
        let spend = |count: &AtomicUsize| {
            count
                .try_update(SeqCst, SeqCst, |count| match count {
                    usize::MAX => Some(count),
                    _ => count.checked_sub(1),
                })
                .is_ok()
        };
        if !spend(&self.0.0) && spend(&self.0.1) {
            return Err(io::Error::other("the disk is dead"));
        }
        Ok(())
    }

    pub(super) fn is_over(&self) -> bool {
        self.0.0.load(SeqCst) == 0
    }
}

/// Holds up whoever passes while it is shut.
#[derive(Clone, Debug, Default)]
pub(super) struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub(super) fn shut(&self, is_shut: bool) {
        *self.0.0.lock().unwrap() = is_shut;
        self.0.1.notify_all();
    }

    fn pass(&self) {
        let is_shut = self.0.0.lock().unwrap();
        drop(self.0.1.wait_while(is_shut, |is_shut| *is_shut).unwrap());
    }
}

/// A disk: what is written stays in a cache until it is synced.
#[derive(Clone, Debug)]
pub(super) struct Mortal {
    state: Arc<Mutex<State>>,
    life: Life,
    gate: Gate,
}

#[derive(Debug)]
struct State {
    /// What survives for certain.
    durable: Vec<u8>,
    /// What was written and not synced since.
    cached: Vec<(u64, Vec<u8>)>,
    seen: Vec<u8>,
}

impl Mortal {
    pub(super) fn new(image: Vec<u8>, life: Life) -> Self {
        let state = State {
            seen: image.clone(),
            durable: image,
            cached: Vec::new(),
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            life,
            gate: Gate::default(),
        }
    }

    pub(super) fn life(&self) -> &Life {
        &self.life
    }

    /// Whatever it held is gone.
    pub(super) fn begin_anew(&self) {
        let mut state = self.state();
        state.seen.clear();
        state.durable.clear();
        state.cached.clear();
    }

    /// What syncs wait at.
    pub(super) fn gate(&self) -> &Gate {
        &self.gate
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// One operation that changes something; it fails once the disk is dead.
    fn live(&self) -> io::Result<MutexGuard<'_, State>> {
        self.life.live()?;
        Ok(self.state())
    }

    /// What the next instance finds, where the process was killed.
    pub(super) fn after_kill(&self) -> Vec<u8> {
        self.state().seen.clone()
    }

    /// What it finds where the power failed: any of the writes that were not synced, each perhaps torn.
    pub(super) fn after_power_loss(&self, random: &mut Rng) -> Vec<u8> {
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
        self.gate.pass();
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
pub(super) struct Model {
    pub(super) pins: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(super) pages: BTreeMap<(String, String), Vec<u8>>,
}

impl Model {
    pub(super) fn apply(&mut self, batch: &Batch) {
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
            let key = (book.clone().into_owned(), page.clone());
            match value {
                Some(value) => self.pages.insert(key, value.clone()),
                None => self.pages.remove(&key),
            };
        }
    }

    pub(super) fn of(rows: Rows) -> Self {
        let pages = rows.pages.into_iter();
        Self {
            pins: rows.pins.into_iter().collect(),
            pages: pages
                .map(|(book, page, value)| ((book, page), value))
                .collect(),
        }
    }
}

/// Segments on a disk that dies. None is ever synced.
#[derive(Clone, Debug)]
pub(super) struct MortalShelf {
    files: Arc<Mutex<Files>>,
    life: Life,
}

#[derive(Clone, Debug, Default)]
struct Files {
    there: BTreeMap<u64, Vec<u8>>,
    /// A power failure may bring them back.
    removed: BTreeMap<u64, Vec<u8>>,
}

/// Segments by number.
pub(super) type Images = BTreeMap<u64, Vec<u8>>;

impl MortalShelf {
    pub(super) fn new(there: Images, life: Life) -> Self {
        let removed = BTreeMap::new();
        Self {
            files: Arc::new(Mutex::new(Files { there, removed })),
            life,
        }
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap()
    }

    pub(super) fn after_kill(&self) -> Images {
        self.files().there.clone()
    }

    /// Each is there, cut, filled with zeros, or not there at all; removed ones as well.
    pub(super) fn after_power_loss(&self, random: &mut Rng) -> Images {
        let files = self.files();
        let mut images = Images::new();
        for (number, bytes) in files.there.iter().chain(&files.removed) {
            let kept = random.usize(..=bytes.len());
            let mut image = bytes.clone();
            match random.u8(..4) {
                0 => continue,
                1 => image.truncate(kept),
                2 => image[kept..].fill(0),
                _ => {}
            }
            images.insert(*number, image);
        }
        images
    }
}

impl Shelf for MortalShelf {
    fn numbers(&self) -> io::Result<Vec<u64>> {
        Ok(self.files().there.keys().copied().collect())
    }

    fn read(&self, number: u64) -> io::Result<Vec<u8>> {
        let files = self.files();
        Ok(files
            .there
            .get(&number)
            .ok_or(io::ErrorKind::NotFound)?
            .clone())
    }

    fn create(&self, number: u64) -> io::Result<Box<dyn Write + Send>> {
        self.life.live()?;
        let old = self.files().there.insert(number, Vec::new());
        assert_eq!(old, None, "a number is given once");
        let shelf = self.clone();
        Ok(Box::new(MortalSegment { shelf, number }))
    }

    fn remove(&self, number: u64) -> io::Result<()> {
        self.life.live()?;
        let mut files = self.files();
        let bytes = files.there.remove(&number).ok_or(io::ErrorKind::NotFound)?;
        files.removed.insert(number, bytes);
        Ok(())
    }

    fn set_aside(&self, number: u64) -> io::Result<PathBuf> {
        self.remove(number)?;
        Ok(self.path(number))
    }

    fn path(&self, number: u64) -> PathBuf {
        format!("state.journal-{number}").into()
    }
}

struct MortalSegment {
    shelf: MortalShelf,
    number: u64,
}

impl Write for MortalSegment {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let lives = self.shelf.life.live();
        // Who dies in the midst of it has written half.
        let length = if lives.is_ok() {
            bytes.len()
        } else {
            bytes.len() / 2
        };
        if let Some(file) = self.shelf.files().there.get_mut(&self.number) {
            file.extend(&bytes[..length]);
        }
        lives.map(|()| length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
