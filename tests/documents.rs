//! Documents are held to the code: what the program can say, the documents explain.
#![expect(
    clippy::unwrap_used,
    reason = "a document that cannot be read is missing"
)]

use std::fs;
use std::path::Path;

use pinfold::telemetry::outcome::Outcome;

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// Words in quotes in `text` that begin with `prefix`.
fn quoted<'a>(text: &'a str, prefix: &str) -> Vec<&'a str> {
    let parts = text.split('"').skip(1).step_by(2);
    parts.filter(|word| word.starts_with(prefix)).collect()
}

#[test]
fn every_outcome_is_explained_with_its_blame() {
    let operations = read("docs/OPERATIONS.md");
    for outcome in Outcome::ALL {
        let row = format!("| `{}` | {} |", outcome.label(), outcome.blame().label());
        assert!(operations.contains(&row), "docs/OPERATIONS.md lacks {row}");
    }
}

#[test]
fn every_metric_is_explained() {
    let operations = read("docs/OPERATIONS.md");
    let source = read("src/control/admin/metrics.rs");
    let names = quoted(&source, "pinfold_");
    assert!(
        names.len() > 15,
        "metrics are found in the source: {names:?}"
    );
    for name in names {
        assert!(
            operations.contains(name),
            "docs/OPERATIONS.md does not explain {name}"
        );
    }
}

#[test]
fn every_file_that_a_document_points_at_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for document in [
        "README.md",
        "docs/ARCHITECTURE.md",
        "docs/OPERATIONS.md",
        "docs/BENCHMARKS.md",
    ] {
        let folder = root.join(document);
        let folder = folder.parent().unwrap();
        for target in read(document)
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            if !target.starts_with("http") && !target.starts_with('#') {
                assert!(
                    folder.join(target).exists(),
                    "{document} points at {target}"
                );
            }
        }
    }
}

#[test]
fn the_readme_shows_a_configuration_that_passes_the_check() {
    let readme = read("README.md");
    let text = readme
        .split("```toml\n")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    if let Err(mistakes) = pinfold::config::parse("README.md", text) {
        panic!("{mistakes}");
    }
}

#[test]
fn the_readme_gives_the_two_commands_that_ci_runs() {
    let readme = read("README.md");
    assert!(
        readme
            .lines()
            .any(|line| line == "cargo run --release -- demo")
    );
    assert!(readme.lines().any(|line| line == "cargo test --workspace"));
}
