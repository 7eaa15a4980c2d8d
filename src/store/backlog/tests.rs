//! Processes and power that die at every step of the journal and of the database.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use fastrand::Rng;

use super::*;
use crate::store::committer;
use crate::store::condition::Shared;
use crate::store::disk::Disk;
use crate::store::file::{StateFile, Unusable, guarded};
use crate::store::mortal::{Images, Life, Model, Mortal, MortalShelf};
use crate::store::segment::tests::anything;
use crate::store::syncer::{self, Due, Synced};

/// A backlog, its database and its journal, without threads.
struct Instance {
    disk: Disk,
    database: Mortal,
    shelf: MortalShelf,
    shared: Arc<Shared>,
    backlog: Backlog,
    handed: Option<Handed>,
    /// The sync under way: done already, or not yet.
    syncing: Option<Result<Synced, Due>>,
    is_stale: bool,
    /// What was found.
    found: Model,
}

/// What is left of an instance.
type Remains = (Vec<u8>, Images);

impl Instance {
    fn new((image, segments): Remains, life: &Life) -> Self {
        let database = Mortal::new(image, life.clone());
        let shelf = MortalShelf::new(segments, life.clone());
        Self::on(database, shelf)
    }

    fn on(database: Mortal, shelf: MortalShelf) -> Self {
        let shared = Arc::new(Shared::default());
        let of_disk = database.clone();
        let open = Box::new(move |_: &Path| {
            let opened = guarded(|| StateFile::open_with(of_disk.clone()));
            // As good as set aside: what was in it is missed by the tests.
            if matches!(opened, Err(Unusable::Damaged(_))) {
                of_disk.begin_anew();
                return StateFile::open_with(of_disk.clone());
            }
            opened
        });
        let path = PathBuf::from("/nowhere/state.redb");
        let (disk, mut rows) = Disk::open_by(open, path, Arc::clone(&shared));
        let (journal, pending) =
            Journal::open(Arc::new(shelf.clone()), Arc::clone(&shared), rows.covers);
        if let Some(pending) = &pending {
            rows.add(pending);
        }
        Self {
            disk,
            database,
            shelf,
            shared,
            backlog: Backlog::new(journal, pending),
            handed: None,
            syncing: None,
            is_stale: false,
            found: Model::of(rows),
        }
    }

    /// Whether a kill could not take it back.
    fn add(&mut self, batch: Batch) -> bool {
        self.backlog.lose_patience();
        self.backlog.add(batch);
        self.backlog.journal.is_whole()
    }

    fn hand_over(&mut self) {
        self.handed = Some(self.backlog.hand_over(true));
    }

    /// As one that ends.
    fn commit_the_last(&mut self) -> Option<Settled> {
        self.handed = Some(self.backlog.hand_over(false));
        self.commit()
    }

    /// Begins to sync all that was written, which is done now or when it ends.
    fn begin_sync(&mut self, is_done_now: bool) {
        let segments = self.backlog.journal.begin_sync();
        let due = Due {
            segments,
            needed: None,
        };
        self.syncing = Some(match is_done_now {
            true => Ok(syncer::sync(&self.shelf, &due)),
            false => Err(due),
        });
    }

    /// Whether it came about.
    fn end_sync(&mut self) -> bool {
        let Some(syncing) = self.syncing.take() else {
            return false;
        };
        let synced = syncing.unwrap_or_else(|due| syncer::sync(&self.shelf, &due));
        let is_synced = synced.result.is_ok();
        self.backlog.journal.end_sync(synced.result);
        is_synced
    }

    fn commit(&mut self) -> Option<Settled> {
        let (outcome, covered) = committer::commit(&mut self.disk, self.handed.take()?);
        let settled = self.backlog.settle(outcome);
        committer::remove(&self.shelf, &covered);
        self.is_stale |= settled == Settled::Anew;
        Some(settled)
    }

    fn after_kill(&self) -> Remains {
        (self.database.after_kill(), self.shelf.after_kill())
    }

    fn after_power_loss(&self, random: &mut Rng) -> Remains {
        (
            self.database.after_power_loss(random),
            self.shelf.after_power_loss(random),
        )
    }
}

/// One history, as far as it came.
struct Lived {
    instance: Instance,
    /// How things stood after each batch.
    states: Vec<Model>,
    /// Which of them a kill leaves at least.
    kept: usize,
    /// Which of them a power failure leaves at least: somebody was told that it is durable.
    answered: usize,
}

/// Lives through the history of `seed`: what is added, synced, handed over and committed in any order.
fn live(seed: u64, life: &Life) -> Lived {
    let mut random = Rng::with_seed(seed);
    let mut instance = Instance::new(Remains::default(), life);
    let (mut states, mut kept, mut answered) = (vec![Model::default()], 0, 0);
    let (mut handed, mut number, mut syncing) = (0, 0, None);
    // As the keeper does.
    instance.hand_over();
    let _ = instance.commit();
    for _ in 0..60 {
        let step = random.u8(..10);
        // The same batches and steps for every death.
        let mut of_step = Rng::with_seed(random.u64(..));
        if step < 4 || instance.is_stale {
            number += 1;
            let mut state = states.last().unwrap().clone();
            let mut batch = anything(&mut of_step, number);
            state.apply(&batch);
            if instance.is_stale {
                let pins = state.pins.clone().into_iter();
                batch.pins = pins.map(|(key, value)| (key, Some(value))).collect();
                batch.are_all_pins = true;
                instance.is_stale = false;
            }
            states.push(state);
            if instance.add(batch) {
                kept = states.len() - 1;
            }
        } else if step == 4 && !instance.backlog.is_under_way() {
            instance.hand_over();
            handed = states.len() - 1;
        } else if step == 5 && instance.commit() == Some(Settled::Committed) {
            answered = answered.max(handed);
        } else if step < 8 && instance.syncing.is_none() {
            let is_whole = instance.backlog.journal.is_whole();
            syncing = is_whole.then_some(states.len() - 1);
            instance.begin_sync(of_step.bool());
        } else if step > 7 && instance.end_sync() {
            answered = answered.max(syncing.unwrap_or(0));
        }
    }
    Lived {
        instance,
        states,
        kept,
        answered,
    }
}

#[test]
fn what_was_kept_outlives_a_kill_and_what_was_synced_a_power_failure_and_nothing_is_missing_in_the_middle()
 {
    for seed in 0..6 {
        let mut random = Rng::with_seed(seed);
        for deaths in 0.. {
            let lived = live(seed, &Life::of(deaths));
            let context = format!("seed {seed}, death {deaths}");
            let remains = lived.instance.after_kill();
            // The next one dies as well, while it commits what it found.
            let mut next = Instance::new(remains, &Life::of(random.usize(..20)));
            next.hand_over();
            let _ = next.commit();
            let mut last = Instance::new(next.after_kill(), &Life::eternal());
            assert!(
                lived.states[lived.kept..].contains(&last.found),
                "{context}: kill"
            );
            let committed = last.commit_the_last();
            assert_eq!(committed, Some(Settled::Committed), "{context}");
            let (image, segments) = last.after_kill();
            assert!(segments.is_empty(), "{context}: segments stay");
            let committed = Instance::new((image, segments), &Life::eternal());
            assert_eq!(committed.found, last.found, "{context}");

            let remains = lived.instance.after_power_loss(&mut random);
            let found = Instance::new(remains, &Life::eternal()).found;
            let since = &lived.states[lived.answered..];
            assert!(since.contains(&found), "{context}: power loss");
            if !lived.instance.database.life().is_over() {
                assert!(deaths > 50, "{deaths} deaths are few");
                break;
            }
        }
    }
}

#[test]
fn a_disk_that_fails_for_a_while_makes_nothing_missing() {
    for seed in 0..6 {
        for failure in (0..150).step_by(3) {
            let life = Life::with_illness(failure, 1 + failure % 7);
            let lived = live(seed, &life);
            let context = format!("seed {seed}, failure {failure}");
            let last = lived.states.last().unwrap();
            let found = Instance::new(lived.instance.after_kill(), &Life::eternal()).found;
            assert!(lived.states[lived.kept..].contains(&found), "{context}");
            let mut random = Rng::with_seed(seed);
            for _ in 0..4 {
                let remains = lived.instance.after_power_loss(&mut random);
                let found = Instance::new(remains, &Life::eternal()).found;
                let since = &lived.states[lived.answered..];
                assert!(since.contains(&found), "{context}: power loss");
            }
            let mut instance = lived.instance;
            for _ in 0..10 {
                let pins = last.pins.clone().into_iter();
                let is_kept = instance.add(Batch {
                    pins: pins.map(|(key, value)| (key, Some(value))).collect(),
                    are_all_pins: true,
                    ..Batch::default()
                });
                let _ = instance.commit();
                let _ = instance.end_sync();
                instance.begin_sync(true);
                let is_kept = instance.end_sync() && is_kept;
                instance.hand_over();
                let is_committed = instance.commit() == Some(Settled::Committed);
                let is_well = instance.shared.condition().trouble.is_none();
                if is_committed && is_kept && is_well {
                    break;
                }
            }
            assert_eq!(instance.shared.condition().trouble, None, "{context}");
            let (image, _) = instance.after_kill();
            let found = Instance::new((image, Images::new()), &Life::eternal()).found;
            assert_eq!(found, *last, "{context}");
        }
    }
}

/// A batch of one pin.
fn one(key: u8, length: usize) -> Batch {
    let mut batch = Batch::default();
    batch.pins.insert(vec![key], Some(vec![key; length]));
    batch
}

#[test]
fn a_journal_that_cannot_be_written_is_trouble_until_it_can_and_holds_up_no_commit() {
    let database = Mortal::new(Vec::new(), Life::eternal());
    let shelf = MortalShelf::new(Images::new(), Life::with_illness(0, 4));
    let mut instance = Instance::on(database, shelf);
    assert!(!instance.add(one(1, 9)));
    assert!(instance.shared.condition().trouble.is_some());
    instance.hand_over();
    assert_eq!(instance.commit(), Some(Settled::Committed));
    assert!(instance.shared.condition().trouble.is_some());
    let healed = (2..9).find(|key| instance.add(one(*key, 9)));
    assert!(healed.is_some(), "it is tried again");
    assert!(instance.shared.condition().trouble.is_some(), "not durable");
    instance.begin_sync(true);
    assert!(instance.end_sync());
    assert_eq!(instance.shared.condition().trouble, None);
    let again = Instance::new(instance.after_kill(), &Life::eternal());
    let keys: Vec<_> = (1..=healed.unwrap()).map(|key| vec![key]).collect();
    assert!(again.found.pins.keys().eq(&keys));
}

#[test]
fn while_nothing_can_be_committed_the_journal_stays_bounded_and_whole() {
    for is_synced in [false, true] {
        commit_nothing(is_synced);
    }
}

/// A long history without a commit; where it `is_synced` what replaces old segments does so only once it is
/// durable, and two sets of them may lie there.
fn commit_nothing(is_synced: bool) {
    let times = 1 + usize::from(is_synced);
    let sync = |instance: &mut Instance| {
        if is_synced {
            let _ = instance.end_sync();
            instance.begin_sync(false);
        }
    };
    let mut instance = Instance::new(Remains::default(), &Life::eternal());
    let fail = |instance: &mut Instance| {
        let Handed { batch, .. } = instance.handed.take().unwrap();
        let failed = instance.backlog.settle(Outcome::Failed(batch, "no".into()));
        assert_eq!(failed, Settled::Failed("no".into()));
    };
    for key in 0..40 {
        instance.add(one(key, 9));
        sync(&mut instance);
        instance.hand_over();
        if key < 39 {
            fail(&mut instance);
        }
        let segments = instance.shelf.after_kill().len();
        assert!(segments <= 18 * times, "{segments} segments");
    }
    // The last one hangs for a while, and then fails like the others.
    for round in 0..200_u8 {
        // Other keys each time, as of addresses that come, lapse and go.
        let mut batch = one(100, 1 << 20);
        batch.pins.insert(vec![round; 9], None);
        instance.add(batch);
        if round == 100 {
            fail(&mut instance);
        } else if round % 10 == 0 && !instance.backlog.is_under_way() {
            instance.hand_over();
            fail(&mut instance);
        }
        if instance.backlog.is_too_long() {
            let mut all = one(100, 1 << 20);
            all.pins.extend((0..40).flat_map(|key| one(key, 9).pins));
            all.are_all_pins = true;
            instance.add(all);
        }
        sync(&mut instance);
        let bytes: usize = instance.shelf.after_kill().values().map(Vec::len).sum();
        assert!(bytes < (times * 40) << 20, "round {round}: {bytes} bytes");
    }
    let again = Instance::new(instance.after_kill(), &Life::eternal());
    assert_eq!(again.found.pins.len(), 41);
}

#[test]
fn a_segment_that_cannot_be_used_is_set_aside_and_the_others_are_read() {
    let mut instance = Instance::new(Remains::default(), &Life::eternal());
    instance.add(one(1, 9));
    let (image, mut segments) = instance.after_kill();
    segments.insert(3, b"somebody's".repeat(9));
    let again = Instance::new((image, segments), &Life::eternal());
    assert_eq!(again.found.pins.len(), 1);
    let aside = again.shared.condition().set_aside;
    assert_eq!(aside, [PathBuf::from("state.journal-3")]);
}
