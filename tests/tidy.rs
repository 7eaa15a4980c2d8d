//! The house rules that a compiler does not hold: layers, purity, where `unsafe` may stand, who gives way.

#![expect(
    clippy::unwrap_used,
    reason = "a house rule that cannot be read is broken"
)]

use std::fs;
use std::path::{Path, PathBuf};

/// Every Rust file below `folder`.
fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                files.push((path, text));
            }
        }
    }
    assert!(!files.is_empty(), "no sources below {folder}");
    files
}

/// The module of `src` that a file belongs to.
fn module(path: &Path) -> String {
    let below = path
        .strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src"))
        .unwrap();
    let first = below.iter().next().unwrap().to_string_lossy();
    first.trim_end_matches(".rs").into()
}

/// Lines outside comments; tests may do what the code may not.
fn code(text: &str) -> impl Iterator<Item = &str> {
    let end = text.find("#[cfg(test)]\nmod ").unwrap_or(text.len());
    text[..end]
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
}

/// Layers from the ground up. A module may use those of lower layers, and itself.
const LAYERS: [&[&str]; 8] = [
    &["addr", "clock", "confine", "sys", "telemetry", "tls"],
    &["config"],
    &["pool", "partner", "inspect"],
    &["net", "snapshot"],
    &["relay", "probe", "store", "resolve"],
    &["worker"],
    &["governor"],
    &["control"],
];

#[test]
fn arrows_go_down() {
    let layer = |name: &str| LAYERS.iter().position(|layer| layer.contains(&name));
    // Telemetry shows what configuration says of it; that is data, not behaviour.
    let excused = [("telemetry", "config")];
    let mut wrong = Vec::new();
    for (path, text) in sources("src") {
        let from = module(&path);
        let Some(own) = layer(&from) else { continue };
        for line in code(&text) {
            for (_, rest) in line
                .match_indices("crate::")
                .map(|(at, _)| line.split_at(at + 7))
            {
                let to: String = rest
                    .chars()
                    .take_while(|c| c.is_alphanumeric() || *c == '_')
                    .collect();
                let Some(target) = layer(&to) else { continue };
                let is_excused = excused.contains(&(from.as_str(), to.as_str()));
                if to != from && target >= own && !is_excused && !(own == 0 && target == 0) {
                    wrong.push(format!("{}: {}", path.display(), line.trim()));
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "arrows that do not go down:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn the_pure_layer_reads_no_clock_and_touches_no_socket() {
    let banned = [
        "tokio",
        "Moment::now",
        "Instant::now",
        "SystemTime",
        "tracing::",
        "std::net::Tcp",
    ];
    for (path, text) in sources("src") {
        if !["pool", "partner", "inspect"].contains(&module(&path).as_str()) {
            continue;
        }
        for line in code(&text) {
            for word in banned {
                assert!(!line.contains(word), "{}: {line}", path.display());
            }
        }
    }
}

#[test]
fn unsafe_stands_only_in_sys_and_is_counted() {
    let mut blocks = 0;
    for (path, text) in sources("src") {
        let found = code(&text).filter(|line| line.contains("unsafe {")).count();
        assert!(found == 0 || module(&path) == "sys", "{}", path.display());
        blocks += found;
    }
    assert_eq!(
        blocks, 21,
        "raise this only with a reason in docs/decisions/0008"
    );
}

#[test]
fn a_session_that_has_more_to_do_gives_way() {
    // Who wakes itself at once is polled again before the runtime looks at sockets: `give_way` of the pump does not.
    // Connections of HTTP do it once an event, never for each read.
    for (path, text) in sources("src/relay") {
        let wakes_itself = code(&text).any(|line| line.contains("waker().wake_by_ref()"));
        let may = path.ends_with("src/relay/http.rs");
        assert!(!wakes_itself || may, "{}", path.display());
    }
}

#[test]
fn nothing_is_called_by_a_name_that_says_nothing() {
    let banned = [
        "utils", "helpers", "common", "misc", "manager", "handler", "base", "mod",
    ];
    for folder in ["src", "loadtest/src", "tests", "benches"] {
        for (path, _) in sources(folder) {
            let name = path.file_stem().unwrap().to_string_lossy();
            assert!(!banned.contains(&name.as_ref()), "{}", path.display());
        }
    }
}
