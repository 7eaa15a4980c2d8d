//! What an administrator decided, and who has the directory, outlives what is done to its files.

use std::os::unix::fs::PermissionsExt;

use super::*;

/// A directory of this test's own, gone when it ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        let name = format!(
            "pinfold-store-{}-{}",
            std::process::id(),
            random_key().unwrap()
        );
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn draining(node: &str) -> Administered {
    Administered {
        pool: "edge".into(),
        node: node.into(),
        state: Wanted::Draining,
        since: Timestamp::UNIX_EPOCH,
        by: "uid 0".into(),
        reason: Some("CHG1".into()),
        deadline: None,
        maintenance: None,
    }
}

#[test]
fn a_second_instance_is_refused_until_the_first_has_ended() {
    let scratch = Scratch::new();
    let first = StateDir::open(&scratch.0).unwrap();
    assert!(matches!(
        StateDir::open(&scratch.0),
        Err(StateError::Locked(_))
    ));
    drop(first);
    StateDir::open(&scratch.0).unwrap();
}

#[test]
fn the_placement_key_is_made_once() {
    let scratch = Scratch::new();
    let directory = StateDir::open(&scratch.0).unwrap();
    let key = directory.placement_key().unwrap();
    assert_eq!(key.len(), 32);
    assert_eq!(directory.placement_key().unwrap(), key);
}

#[test]
fn states_of_nodes_last() {
    let scratch = Scratch::new();
    let states = vec![draining("edge1"), draining("edge2")];
    StateDir::open(&scratch.0)
        .unwrap()
        .save_administered(&states)
        .unwrap();
    let found = StateDir::open(&scratch.0).unwrap().administered().unwrap();
    assert!(matches!(found, Found::States(found) if found == states));
}

#[test]
fn a_damaged_file_is_set_aside_and_nothing_is_lost() {
    let scratch = Scratch::new();
    let directory = StateDir::open(&scratch.0).unwrap();
    for damage in [
        &b"{\"version\": 1, \"nodes\": [{"[..],
        b"\xff\xfe",
        b"{\"version\":9,\"nodes\":[]}",
    ] {
        fs::write(scratch.0.join(NODES), damage).unwrap();
        let Found::Damaged(aside) = directory.administered().unwrap() else {
            panic!("damage is noticed")
        };
        assert_eq!(fs::read(aside).unwrap(), damage);
        assert!(matches!(directory.administered().unwrap(), Found::States(s) if s.is_empty()));
    }
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    let error = StateDir::open(Path::new("/proc/pinfold")).unwrap_err();
    assert!(error.to_string().contains("/proc/pinfold"), "{error}");
}

/// All files of a directory.
fn files(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = fs::read_dir(directory).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect()
}

#[test]
fn what_is_removed_while_it_is_in_use_is_made_anew_and_a_second_instance_stays_out() {
    let scratch = Scratch::new();
    let directory = StateDir::open(&scratch.0).unwrap();
    fs::set_permissions(&scratch.0, fs::Permissions::from_mode(0o750)).unwrap();
    drop(directory);
    let directory = StateDir::open(&scratch.0).unwrap();
    directory.placement_key().unwrap();
    directory.save_administered(&[draining("edge1")]).unwrap();
    let before = files(&scratch.0);
    let empty: fn(&Path) = |path| {
        for name in files(path).keys() {
            fs::remove_file(name).unwrap();
        }
    };
    let remove: fn(&Path) = |path| fs::remove_dir_all(path).unwrap();
    for harm in [empty, remove] {
        harm(&scratch.0);
        directory.stand().unwrap();
        assert_eq!(files(&scratch.0), before);
        let second = StateDir::open(&scratch.0);
        assert!(matches!(second, Err(StateError::Locked(_))));
        let mode = fs::metadata(&scratch.0).unwrap().mode();
        assert_eq!(mode & 0o7777, 0o750);
    }
    // What was moved away is in use as long as it was locked.
    let elsewhere = scratch.0.with_extension("elsewhere");
    fs::rename(&scratch.0, &elsewhere).unwrap();
    directory.stand().unwrap();
    for path in [&scratch.0, &elsewhere] {
        assert!(matches!(StateDir::open(path), Err(StateError::Locked(_))));
    }
    fs::remove_dir_all(&elsewhere).unwrap();
    drop(directory);
    StateDir::open(&scratch.0).unwrap();
}

#[test]
fn who_has_lost_the_directory_to_another_instance_writes_nothing_there() {
    let scratch = Scratch::new();
    let first = StateDir::open(&scratch.0).unwrap();
    first.save_administered(&[draining("edge1")]).unwrap();
    fs::remove_dir_all(&scratch.0).unwrap();
    let second = StateDir::open(&scratch.0).unwrap();
    let before = files(&scratch.0);
    let refused = first.save_administered(&[draining("edge2")]);
    assert!(matches!(refused, Err(StateError::Locked(_))), "{refused:?}");
    assert_eq!(files(&scratch.0), before);
    drop(second);
    first.save_administered(&[draining("edge2")]).unwrap();
}

#[test]
fn a_directory_that_cannot_be_made_anew_is_named_with_cause_and_remedy() {
    let scratch = Scratch::new();
    let directory = StateDir::open(&scratch.0).unwrap();
    fs::remove_dir_all(&scratch.0).unwrap();
    fs::write(&scratch.0, b"no directory").unwrap();
    let error = directory.stand().unwrap_err().to_string();
    fs::remove_file(&scratch.0).unwrap();
    for part in [
        scratch.0.to_str().unwrap(),
        "exists",
        "mode",
        "make it again",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
}
