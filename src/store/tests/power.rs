//! Power failures of a running store whose disk is slow.

use super::trouble::on_mortal;
use super::*;

/// A pin of its own for each number.
fn stranger(number: u32) -> PinKey {
    let ip = IpAddr::from((0x0a00_0000 + number).to_be_bytes());
    key(Subject::of_client(ip, PinPrefix { v4: 32, v6: 64 }))
}

/// When power failed, and what whoever comes after it finds: how many of the first pins without a gap, and how many
/// at all.
fn found(
    database: &Mortal,
    shelf: &MortalShelf,
    random: &mut fastrand::Rng,
) -> (Instant, usize, usize) {
    // In this order: what a commit covers is removed from the shelf.
    let segments = shelf.after_power_loss(random);
    let image = database.after_power_loss(random);
    let failed = Instant::now();
    let database = Mortal::new(image, Life::eternal());
    let shelf = MortalShelf::new(segments, Life::eternal());
    let (_, contents) = on_mortal(&database, &shelf);
    let keys = contents.pins.iter().map(|(key, _)| key.subject.clone());
    let keys: std::collections::HashSet<_> = keys.collect();
    let is_there = |number: &u32| keys.contains(&codec::Key::from(&stranger(*number)).subject);
    let whole = (0..u32::MAX).take_while(is_there).count();
    let all = keys.len();
    (failed, whole, all)
}

/// Pins strangers, about one in `pace`, for so long, on a disk whose syncs take `delay`; what the oldest was of those
/// that were lost, at power failures again and again.
fn live(delay: Duration, pace: Duration, length: Duration) -> (Duration, u32) {
    let database = Mortal::new(Vec::new(), Life::eternal());
    let shelf = MortalShelf::new(Images::new(), Life::eternal());
    let (store, _) = on_mortal(&database, &shelf);
    let pins = Arc::new(PinTable::new(10_000));
    store.keep(&pins);
    run(store.flush()).unwrap();
    database.gate().delay(delay);
    shelf.gate().delay(delay);
    let begun = Instant::now();
    let made = &std::sync::Mutex::new(Vec::new());
    let oldest = std::thread::scope(|scope| {
        let traffic = scope.spawn(move || {
            while begun.elapsed() < length {
                let mut made = made.lock().unwrap();
                let number = u32::try_from(made.len()).unwrap();
                pins.pin(&stranger(number), to("edge1"), Moment::now());
                made.push(Instant::now());
                drop(made);
                std::thread::park_timeout(pace);
            }
        });
        let (mut oldest, mut random) = (Duration::ZERO, fastrand::Rng::with_seed(1));
        while !traffic.is_finished() {
            let (failed, whole, all) = found(&database, &shelf, &mut random);
            assert_eq!(whole, all, "one in the middle is missing");
            let made = made.lock().unwrap();
            if let Some(lost) = made.get(whole) {
                oldest = oldest.max(failed.saturating_duration_since(*lost));
            }
        }
        oldest
    });
    let syncs = database.gate().passed() + shelf.gate().passed();
    database.gate().delay(Duration::ZERO);
    shelf.gate().delay(Duration::ZERO);
    run(store.finish()).unwrap();
    (oldest, syncs)
}

#[test]
fn whenever_power_fails_only_the_last_pins_are_missing() {
    live(
        Duration::from_millis(5),
        Duration::from_millis(1),
        Duration::from_millis(1500),
    );
}

#[test]
#[ignore = "a measure: cargo test --release --lib -- --ignored --nocapture oldest_lost"]
fn the_oldest_lost_pin_where_every_sync_takes_long() {
    for delay in [0, 10, 20, 40, 60] {
        let length = Duration::from_secs(5);
        let delay = Duration::from_millis(delay);
        let (oldest, syncs) = live(delay, Duration::from_millis(5), length);
        println!(
            "syncs of {delay:?}: {syncs} in {length:?}, the oldest lost pin was {oldest:?} old"
        );
    }
}
