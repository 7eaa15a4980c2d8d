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

/// What stands between the parentheses of each call of the macro `name` in `source`.
fn calls<'a>(source: &'a str, name: &str) -> Vec<&'a str> {
    let opening = format!("{name}!(");
    let starts = source
        .match_indices(&opening)
        .map(|(at, _)| &source[at + opening.len()..]);
    starts.map(|rest| &rest[..length_of_call(rest)]).collect()
}

/// Where the parenthesis that was opened before `text` is closed, those within quotes apart.
fn length_of_call(text: &str) -> usize {
    let (mut depth, mut is_quoted, mut is_escaped) = (1, false, false);
    for (at, character) in text.char_indices() {
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            '(' if !is_quoted => depth += 1,
            ')' if !is_quoted => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

/// What a line of the log begins with, which is its name: the last text in quotes of the call.
fn name_of_line(call: &str) -> &str {
    let call = call.trim_end().trim_end_matches(',').trim_end();
    let text = call.strip_suffix('"').unwrap_or_default();
    let text = text.rsplit('"').next().unwrap_or_default();
    text.split([':', ';']).next().unwrap_or_default().trim()
}

fn sources(directory: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && name != "tests" {
            sources(&path, found);
        } else if name != "tests.rs" && name.ends_with(".rs") {
            let text = fs::read_to_string(&path).unwrap();
            let product = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
            found.push(product.to_owned());
        }
    }
}

#[test]
fn every_log_line_at_warning_or_above_is_explained() {
    let operations = read("docs/OPERATIONS.md");
    let mut product = Vec::new();
    sources(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut product,
    );
    let mut names = Vec::new();
    for (source, macro_name) in product.iter().flat_map(|it| [(it, "warn"), (it, "error")]) {
        names.extend(calls(source, macro_name).into_iter().map(name_of_line));
    }
    assert!(names.len() > 60, "lines are found in the source: {names:?}");
    // What `check` warns of is written at the start as `check` words it.
    names.retain(|name| *name != "{warning}");
    let missing: Vec<_> = names
        .iter()
        .filter(|name| !operations.contains(&format!("`{name}")))
        .collect();
    assert!(
        missing.is_empty(),
        "docs/OPERATIONS.md does not explain {missing:#?}"
    );
}

#[test]
fn every_file_that_a_document_points_at_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for document in [
        "README.md",
        "docs/ARCHITECTURE.md",
        "docs/OPERATIONS.md",
        "docs/BENCHMARKS.md",
        "docs/NETWORK.md",
        "docs/THREATS.md",
        "docs/LOADTEST.md",
        "SECURITY.md",
    ] {
        let folder = root.join(document);
        let folder = folder.parent().unwrap();
        for target in read(document)
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            if !target.starts_with("http") && !target.starts_with('#') {
                let file = target.split('#').next().unwrap();
                assert!(folder.join(file).exists(), "{document} points at {target}");
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
