//! What TLS partners speak, kept over a restart: who still uses TLS 1.0 is asked once a year.
//!
//! Owns the book of it. Every few seconds it writes what is new: at once where a partner speaks otherwise
//! than before, else at most once a minute, so that a partner that connects all day is not written all day.
//! Partners that nobody configures any more are forgotten after a quarter of a year.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::chronicle::{Chronicle, Spoken, lock};
use crate::clock::Moment;
use crate::config::model::Config;
use crate::inspect::tls::{Era, Version};
use crate::store::{Book, Contents, Store};

/// One partner.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
struct Page {
    offers: Option<u16>,
    negotiated: Vec<(u16, u64)>,
    since: Option<Timestamp>,
    old_at: Option<Timestamp>,
    seen_at: Option<Timestamp>,
    certificate: Option<String>,
    era: String,
    ja4: Option<String>,
}

/// The book, and when what was written in it. By default it keeps nothing.
#[derive(Debug, Default)]
pub(super) struct Inventory {
    book: Option<Book<Page>>,
    found: Vec<(String, Page)>,
    /// What each page says, in short, and when it was written.
    written: HashMap<Arc<str>, (u64, Moment)>,
    hasher: RandomState,
    looked: Moment,
}

impl Inventory {
    pub(super) fn open(store: &Store, contents: &mut Contents) -> Self {
        let (book, found) = store.book(BOOK, contents);
        Self {
            book: Some(book),
            found,
            ..Self::default()
        }
    }

    /// Tells the chronicle what earlier instances have noted.
    pub(super) fn teach(&mut self, chronicle: &Mutex<Chronicle>, config: &Config, now: Timestamp) {
        let mut chronicle = lock(chronicle);
        for (name, page) in std::mem::take(&mut self.found) {
            let is_configured = config.partners.iter().any(|each| each.name == name);
            let age = page.seen_at.map(|seen| now.duration_since(seen));
            let is_old = age.is_none_or(|age| age > FORGOTTEN);
            let name: Arc<str> = name.into();
            let spoken = page.spoken();
            let brief = self.brief(&spoken);
            if (is_old && !is_configured) || !chronicle.teach(&name, spoken) {
                if let Some(book) = &self.book {
                    book.remove(&*name);
                }
                continue;
            }
            self.written.insert(name, (brief, Moment::START));
        }
    }

    /// Writes down what has changed, if it is time.
    pub(super) fn look(&mut self, chronicle: &Mutex<Chronicle>, now: Moment) {
        if now.since(self.looked) >= INTERVAL {
            self.looked = now;
            self.write(chronicle, now, CALM, WRITTEN_AT_ONCE);
        }
    }

    /// Writes down everything that has changed.
    pub(super) fn finish(&mut self, chronicle: &Mutex<Chronicle>, now: Moment) {
        self.write(chronicle, now, Duration::ZERO, usize::MAX);
    }

    fn write(&mut self, chronicle: &Mutex<Chronicle>, now: Moment, calm: Duration, most: usize) {
        let Some(book) = &self.book else { return };
        let (written, hasher) = (&self.written, &self.hasher);
        let is_due = |name: &Arc<str>, spoken: &Spoken| {
            let known = written.get(name);
            known.is_none_or(|(brief, at)| {
                *brief != brief_of(hasher, spoken) || now.since(*at) >= calm
            })
        };
        let changed = lock(chronicle).take_changed(most, is_due);
        for (name, spoken) in changed {
            book.put(&*name, &Page::of(&spoken));
            let brief = brief_of(&self.hasher, &spoken);
            self.written.insert(name, (brief, now));
        }
    }

    fn brief(&self, spoken: &Spoken) -> u64 {
        brief_of(&self.hasher, spoken)
    }
}

/// How a partner speaks, but neither how often nor when.
fn brief_of(hasher: &RandomState, spoken: &Spoken) -> u64 {
    let versions: Vec<_> = spoken.negotiated.keys().collect();
    let (certificate, ja4) = (&spoken.certificate, &spoken.ja4);
    hasher.hash_one((spoken.offers, versions, certificate, spoken.era, ja4))
}

impl Page {
    fn of(spoken: &Spoken) -> Self {
        let counts = spoken.negotiated.iter();
        Self {
            offers: spoken.offers.map(|version| version.0),
            negotiated: counts.map(|(version, count)| (version.0, *count)).collect(),
            since: spoken.since,
            old_at: spoken.old_at,
            seen_at: spoken.seen_at,
            certificate: spoken.certificate.as_deref().map(Into::into),
            era: spoken.era.label().into(),
            ja4: spoken.ja4.as_deref().map(Into::into),
        }
    }

    fn spoken(&self) -> Spoken {
        let counts = self.negotiated.iter();
        let counts = counts.map(|(version, count)| (Version(*version), *count));
        Spoken {
            offers: self.offers.map(Version),
            negotiated: counts.filter(|(version, _)| version.is_known()).collect(),
            since: self.since,
            old_at: self.old_at,
            seen_at: self.seen_at,
            certificate: self.certificate.as_deref().map(Into::into),
            era: Era::from_label(&self.era),
            ja4: self.ja4.as_deref().map(Into::into),
        }
    }
}

const BOOK: &str = "tls";
/// How long a new way of speaking may be lost to a kill.
const INTERVAL: Duration = Duration::from_secs(2);
/// How much of the counts may be.
const CALM: Duration = Duration::from_secs(60);
/// Others have something to be written, too.
const WRITTEN_AT_ONCE: usize = 1024;
const FORGOTTEN: SignedDuration = SignedDuration::from_hours(90 * 24);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;
    use crate::relay::history::Told;
    use crate::relay::inspection::TlsFacts;

    fn shakes(chronicle: &Mutex<Chronicle>, partner: &str, version: Version) {
        let facts = TlsFacts {
            offered: Some(version),
            negotiated: Some(version),
            completed: true,
            certificate: Some("sip.fabrikam.com".into()),
            era: Era::Ocs,
            ..TlsFacts::default()
        };
        lock(chronicle).note(Told::Handshake {
            partner: partner.into(),
            listener: "a".into(),
            node: None,
            facts,
            ja4: Some("t10".into()),
            at: Moment::now(),
        });
    }

    fn spoken(chronicle: &Mutex<Chronicle>, partner: &str) -> Option<Spoken> {
        let chronicle = lock(chronicle);
        chronicle.partner(partner).map(|known| known.tls.clone())
    }

    fn config() -> Arc<Config> {
        let text = "version = 1\n[[partner]]\nname = \"fabrikam\"\naddresses = [\"192.0.2.1\"]\n\
            [[pool]]\nname = \"edge\"\n[[pool.node]]\nname = \"edge1\"\naddress = \"127.0.0.1:1\"\n\
            [[listener]]\nname = \"a\"\nbind = \"127.0.0.1:0\"\nservice = \"tcp\"\npool = \"edge\"\n";
        Arc::new(parse("a.toml", text).unwrap().config)
    }

    /// An instance that lives as long as `work` takes, and is told to stop.
    fn instance(
        path: &std::path::Path,
        now: Timestamp,
        work: impl FnOnce(&mut Inventory, &Mutex<Chronicle>),
    ) {
        let (store, mut contents) = Store::start(path).unwrap();
        let (mut inventory, chronicle) = (Inventory::open(&store, &mut contents), Mutex::default());
        inventory.teach(&chronicle, &config(), now);
        work(&mut inventory, &chronicle);
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.unwrap().block_on(store.finish()).unwrap();
    }

    #[test]
    fn what_partners_speak_is_known_again_and_strangers_are_forgotten_in_time() {
        let scratch = crate::store::random_key().unwrap();
        let scratch = std::env::temp_dir().join(format!("pinfold-inventory-{scratch}"));
        std::fs::create_dir(&scratch).unwrap();
        let (file, now) = (scratch.join("state.redb"), Timestamp::now());
        let mut before = None;
        instance(&file, now, |inventory, chronicle| {
            shakes(chronicle, "fabrikam", Version::TLS_1_0);
            shakes(chronicle, "woodgrove", Version::TLS_1_2);
            inventory.finish(chronicle, Moment::now());
            before = spoken(chronicle, "fabrikam");
            assert_eq!(
                before.as_ref().unwrap().old_at,
                before.as_ref().unwrap().seen_at
            );
        });
        instance(&file, now, |_, chronicle| {
            assert_eq!(spoken(chronicle, "fabrikam"), before);
            assert!(spoken(chronicle, "woodgrove").is_some());
        });
        let later = now + SignedDuration::from_hours(91 * 24);
        for _ in 0..2 {
            instance(&file, later, |_, chronicle| {
                assert_eq!(spoken(chronicle, "fabrikam"), before);
                assert_eq!(spoken(chronicle, "woodgrove"), None);
            });
        }
        std::fs::remove_dir_all(scratch).unwrap();
    }

    #[test]
    fn another_way_of_speaking_is_written_at_once_and_more_of_the_same_calmly() {
        let mut inventory = Inventory {
            book: Some(Book::default()),
            ..Inventory::default()
        };
        let chronicle = Mutex::default();
        let at = |seconds| Moment::START + Duration::from_secs(seconds);
        let written = |inventory: &Inventory| inventory.written["fabrikam"].1;
        shakes(&chronicle, "fabrikam", Version::TLS_1_0);
        inventory.look(&chronicle, at(100));
        assert_eq!(written(&inventory), at(100));
        shakes(&chronicle, "fabrikam", Version::TLS_1_0);
        inventory.look(&chronicle, at(110));
        assert_eq!(written(&inventory), at(100), "more of the same");
        inventory.look(&chronicle, at(161));
        assert_eq!(written(&inventory), at(161), "but not lost");
        shakes(&chronicle, "fabrikam", Version::TLS_1_2);
        inventory.look(&chronicle, at(164));
        assert_eq!(written(&inventory), at(164), "another version");
        inventory.look(&chronicle, at(600));
        assert_eq!(written(&inventory), at(164), "nothing new");
    }
}
