//! The file of pins: however it was damaged, the store starts, keeps what comes, and makes nothing up.
//!
//! Files that redb has written are large and change with every version, so an input is a script: what is
//! done to a file that was just written.
#![cfg_attr(fuzzing, no_main)]

use std::fs;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use pinfold::store::{Contents, Store};

/// Does to a good file what `data` says, and lives with it for two instances.
pub(crate) fn run(data: &[u8]) {
    static GOOD: OnceLock<Vec<u8>> = OnceLock::new();
    let scratch = Scratch::new();
    let file = scratch.0.join("state.redb");
    fs::write(&file, damaged(GOOD.get_or_init(good), data)).expect("the scratch directory works");
    let length = fs::metadata(&file)
        .expect("the scratch directory works")
        .len();

    let (store, mut contents) = Store::start(&file).expect("it starts");
    let condition = store.condition();
    assert_eq!(condition.trouble, None, "the disk is well");
    for aside in &condition.set_aside {
        // redb may have tried to mend it.
        assert!(
            fs::metadata(aside)
                .expect("the scratch directory works")
                .len()
                <= length.max(LENGTH_MAX)
        );
    }
    assert!(condition.set_aside.len() <= 1);
    let before = pages(&store, &mut contents);
    let is_known = |(name, value): &(String, u32)| *name == page(*value) && *value < PAGES;
    assert!(before.iter().all(is_known), "{before:?}");
    store.book::<u32>(BOOK, &mut contents).0.put("new", &7);
    wait(store.finish()).expect("it is written");

    let (store, mut contents) = Store::start(&file).expect("it starts again");
    assert!(store.condition().set_aside.is_empty());
    let mut after = pages(&store, &mut contents);
    after.retain(|(name, value)| (&**name, *value) != ("new", 7));
    assert_eq!(after, before);
    wait(store.finish()).expect("it is well");
    assert!(
        fs::metadata(&file)
            .expect("the scratch directory works")
            .len()
            <= length.max(LENGTH_MAX)
    );
}

/// A small file, written in two commits.
fn good() -> Vec<u8> {
    let scratch = Scratch::new();
    let file = scratch.0.join("state.redb");
    for half in [0..PAGES / 2, PAGES / 2..PAGES] {
        let (store, mut contents) = Store::start(&file).expect("the scratch directory works");
        let (book, _) = store.book::<u32>(BOOK, &mut contents);
        half.for_each(|value| book.put(page(value), &value));
        wait(store.finish()).expect("the scratch directory works");
    }
    fs::read(&file).expect("the scratch directory works")
}

/// Eight bytes are a step: what, with which byte, how much, and where.
fn damaged(good: &[u8], script: &[u8]) -> Vec<u8> {
    let mut bytes = good.to_vec();
    for step in script.chunks_exact(8).take(STEPS_MAX) {
        let [what, byte, low, high, place @ ..] = step else {
            continue;
        };
        let place = place
            .iter()
            .rev()
            .fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        let place = place % bytes.len().max(1);
        let length = usize::from(u16::from_le_bytes([*low, *high]));
        let end = (place + length).min(bytes.len());
        match what % 6 {
            0 => bytes
                .iter_mut()
                .skip(place)
                .take(1)
                .for_each(|old| *old = *byte),
            1 => bytes
                .iter_mut()
                .skip(place)
                .take(1)
                .for_each(|old| *old ^= *byte),
            2 => bytes[place..end].fill(*byte),
            3 => bytes.truncate(place),
            4 => bytes.resize(bytes.len() + length, *byte),
            _ => {
                let to = usize::from(*byte) * 4096;
                if to + (end - place) <= bytes.len() {
                    bytes.copy_within(place..end, to);
                }
            }
        }
    }
    bytes
}

fn pages(store: &Store, contents: &mut Contents) -> Vec<(String, u32)> {
    store.book(BOOK, contents).1
}

fn page(value: u32) -> String {
    format!("page {value}")
}

/// A directory of its own, gone when it is dropped; in memory where there is such a place.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Relaxed);
        let memory = Path::new("/dev/shm");
        let place = if memory.is_dir() {
            memory.into()
        } else {
            std::env::temp_dir()
        };
        let path = place.join(format!("pinfold-damaged-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).expect("the scratch directory works");
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

struct Waiting(Thread);

impl Wake for Waiting {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn wait<T>(work: impl Future<Output = T>) -> T {
    let (mut work, waker) = (
        pin!(work),
        Waker::from(Arc::new(Waiting(thread::current()))),
    );
    loop {
        match work.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(result) => return result,
            Poll::Pending => thread::park(),
        }
    }
}

const BOOK: &str = "pages";
const PAGES: u32 = 40;
const STEPS_MAX: usize = 32;
/// What redb makes of a file that holds little.
const LENGTH_MAX: u64 = 8 << 20;

/// A panic on a thread of the store is damage that was found; what the fuzzer sees of it is whether the
/// store starts.
#[cfg(fuzzing)]
fn let_the_store_panic() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let thread = thread::current();
            if !thread.name().is_some_and(|name| name.starts_with("store")) {
                hook(info);
            }
        }));
    });
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let_the_store_panic();
    run(data);
});
