//! Disks that die, for tests.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use fastrand::Rng;
use redb::StorageBackend;

use super::batch::Batch;
use super::file::Rows;
use super::shelf::{Leaf, Shelf};

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

/// Holds up whoever passes while it is shut, and for so long.
#[derive(Clone, Debug, Default)]
pub(super) struct Gate(Arc<(Mutex<Hold>, Condvar)>);

#[derive(Debug, Default)]
struct Hold {
    is_shut: bool,
    delay: Duration,
    passed: u32,
}

impl Gate {
    pub(super) fn shut(&self, is_shut: bool) {
        self.0.0.lock().unwrap().is_shut = is_shut;
        self.0.1.notify_all();
    }

    fn pass(&self) {
        let hold = self.0.0.lock().unwrap();
        let mut hold = self.0.1.wait_while(hold, |hold| hold.is_shut).unwrap();
        hold.passed += 1;
        let delay = hold.delay;
        drop(self.0.1.wait_timeout_while(hold, delay, |_| true).unwrap());
    }

    /// What each takes from now on.
    pub(super) fn delay(&self, delay: Duration) {
        self.0.0.lock().unwrap().delay = delay;
    }

    /// How many have come.
    pub(super) fn passed(&self) -> u32 {
        self.0.0.lock().unwrap().passed
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

/// Segments on a disk that dies: what is written stays in a cache until it is synced.
#[derive(Clone, Debug)]
pub(super) struct MortalShelf {
    files: Arc<Mutex<Files>>,
    life: Life,
    gate: Gate,
    is_displaced: Arc<AtomicBool>,
    are_syncs_broken: Arc<AtomicBool>,
}

#[derive(Clone, Debug, Default)]
struct Files {
    there: BTreeMap<u64, File>,
    /// A power failure may bring them back.
    removed: BTreeMap<u64, File>,
}

#[derive(Clone, Debug, Default)]
struct File {
    bytes: Vec<u8>,
    /// Bytes that survive for certain, where its name does.
    durable: usize,
    /// What a sync that failed was to make durable: the system counts it as written, and no later sync does it.
    forgotten: Vec<Range<usize>>,
    has_durable_name: bool,
}

/// Segments by number.
pub(super) type Images = BTreeMap<u64, Vec<u8>>;

impl MortalShelf {
    /// Nothing in the segments that are `there` is durable: a kill has left them.
    pub(super) fn new(there: Images, life: Life) -> Self {
        let there = there.into_iter();
        let file = |(number, bytes)| {
            let file = File {
                bytes,
                ..File::default()
            };
            (number, file)
        };
        let files = Files {
            there: there.map(file).collect(),
            removed: BTreeMap::new(),
        };
        Self {
            files: Arc::new(Mutex::new(files)),
            life,
            gate: Gate::default(),
            is_displaced: Arc::default(),
            are_syncs_broken: Arc::default(),
        }
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap()
    }

    /// What syncs wait at.
    pub(super) fn gate(&self) -> &Gate {
        &self.gate
    }

    /// The next start would look elsewhere.
    pub(super) fn displace(&self, is_displaced: bool) {
        self.is_displaced.store(is_displaced, SeqCst);
    }

    /// Whether syncs fail, and nothing else.
    pub(super) fn break_syncs(&self, are_broken: bool) {
        self.are_syncs_broken.store(are_broken, SeqCst);
    }

    fn sync_lives(&self) -> io::Result<()> {
        self.gate.pass();
        if self.are_syncs_broken.load(SeqCst) {
            return Err(io::Error::other("the disk is broken"));
        }
        self.life.live()
    }

    /// Somebody removes a segment.
    pub(super) fn steal(&self, number: u64) {
        self.files().there.remove(&number).unwrap();
    }

    pub(super) fn after_kill(&self) -> Images {
        let files = self.files();
        let image = |(number, file): (&u64, &File)| (*number, file.bytes.clone());
        files.there.iter().map(image).collect()
    }

    /// Of what was not synced any block may be missing, and the end; so may a name, and a removal.
    pub(super) fn after_power_loss(&self, random: &mut Rng) -> Images {
        let files = self.files();
        let mut images = Images::new();
        let removed: Vec<_> = files.removed.iter().filter(|_| random.bool()).collect();
        for (number, file) in files.there.iter().chain(removed) {
            if !file.has_durable_name && random.bool() {
                continue;
            }
            let mut image = file.bytes.clone();
            match random.u8(..4) {
                0 => image.truncate(file.durable),
                1 => image.truncate(random.usize(file.durable..=file.bytes.len())),
                2 => lose_blocks(&mut image, file.durable, random),
                _ => {}
            }
            for forgotten in file.forgotten.iter().filter(|_| random.bool()) {
                let end = forgotten.end.min(image.len());
                image[forgotten.start.min(end)..end].fill(0);
            }
            images.insert(*number, image);
        }
        images
    }
}

/// Zeros where blocks never reached the disk. One that did before holds at least what it held then.
fn lose_blocks(image: &mut [u8], durable: usize, random: &mut Rng) {
    let mut start = durable;
    while start < image.len() {
        let end = (start / BLOCK + 1) * BLOCK;
        let end = end.min(image.len());
        if random.bool() {
            image[start..end].fill(0);
        }
        start = end;
    }
}

impl Shelf for MortalShelf {
    fn numbers(&self) -> io::Result<Vec<u64>> {
        Ok(self.files().there.keys().copied().collect())
    }

    fn read(&self, number: u64) -> io::Result<Vec<u8>> {
        let files = self.files();
        let file = files.there.get(&number).ok_or(io::ErrorKind::NotFound)?;
        Ok(file.bytes.clone())
    }

    fn create(&self, number: u64) -> io::Result<Arc<dyn Leaf>> {
        self.life.live()?;
        let old = self.files().there.insert(number, File::default());
        assert!(old.is_none(), "a number is given once");
        let shelf = self.clone();
        Ok(Arc::new(MortalSegment { shelf, number }))
    }

    fn remove(&self, number: u64) -> io::Result<()> {
        self.life.live()?;
        let mut files = self.files();
        let file = files.there.remove(&number).ok_or(io::ErrorKind::NotFound)?;
        files.removed.insert(number, file);
        Ok(())
    }

    fn set_aside(&self, number: u64) -> io::Result<PathBuf> {
        self.remove(number)?;
        Ok(self.path(number))
    }

    fn path(&self, number: u64) -> PathBuf {
        format!("state.journal-{number}").into()
    }

    fn is_in_place(&self) -> bool {
        !self.is_displaced.load(SeqCst)
    }
}

#[derive(Debug)]
struct MortalSegment {
    shelf: MortalShelf,
    number: u64,
}

impl MortalSegment {
    /// Does something to the file, wherever it is.
    fn with<T>(&self, work: impl FnOnce(&mut File) -> T) -> Option<T> {
        let mut files = self.shelf.files();
        let Files { there, removed } = &mut *files;
        let file = there.get_mut(&self.number);
        file.or_else(|| removed.get_mut(&self.number)).map(work)
    }
}

impl Leaf for MortalSegment {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let lives = self.shelf.life.live();
        // Who dies in the midst of it has written half.
        let length = if lives.is_ok() {
            bytes.len()
        } else {
            bytes.len() / 2
        };
        self.with(|file| file.bytes.extend(&bytes[..length]));
        lives
    }

    fn sync(&self) -> io::Result<()> {
        // What is written while it lasts is not covered.
        let length = self.with(|file| file.bytes.len()).unwrap_or(0);
        let lives = self.shelf.sync_lives();
        self.with(|file| {
            if lives.is_err() {
                file.forgotten.push(file.durable..length);
            }
            file.durable = length.max(file.durable);
        });
        lives?;
        if self.with(|file| file.has_durable_name) == Some(true) {
            return Ok(());
        }
        self.sync_name()
    }

    fn sync_name(&self) -> io::Result<()> {
        self.shelf.sync_lives()?;
        self.with(|file| file.has_durable_name = true);
        Ok(())
    }

    fn is_in_place(&self) -> bool {
        self.shelf.files().there.contains_key(&self.number)
    }
}

/// What a disk writes at once.
const BLOCK: usize = 512;
