//! What `pinfold generate` writes: manual pages that man(1) reads without a complaint, and completions.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Output};

use crate::world::{Directory, programs};

const PAGES: [&str; 3] = ["pinfold-loadtest.1", "pinfold.8", "pinfold.toml.5"];

fn generate(directory: &Directory, epoch: Option<&str>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pinfold"));
    command.arg("generate").arg(directory.path().join("out"));
    command.env_remove("SOURCE_DATE_EPOCH");
    if let Some(epoch) = epoch {
        command.env("SOURCE_DATE_EPOCH", epoch);
    }
    command.output().unwrap()
}

fn files(directory: &Directory) -> BTreeMap<String, String> {
    let files = fs::read_dir(directory.path().join("out")).unwrap();
    let files = files.map(|file| {
        let file = file.unwrap();
        let name = file.file_name().into_string().unwrap();
        (name, fs::read_to_string(file.path()).unwrap())
    });
    files.collect()
}

#[test]
fn the_same_program_writes_the_same_files_whenever_it_is_asked() {
    let (one, other) = (Directory::create(), Directory::create());
    for directory in [&one, &other] {
        let output = generate(directory, Some("1764547200"));
        assert!(output.status.success(), "{output:?}");
    }
    assert_eq!(files(&one), files(&other));
    let names: Vec<_> = files(&one).into_keys().collect();
    let completions = ["_pinfold", "pinfold.bash", "pinfold.fish"];
    let mut expected = [completions, PAGES].concat();
    expected.sort_unstable();
    assert_eq!(names, expected);
    assert!(files(&one)["pinfold.8"].contains("2025-12-01"));

    assert!(generate(&other, None).status.success());
    assert!(!files(&other)["pinfold.8"].contains("2025"));
    let wrong = generate(&other, Some("yesterday"));
    assert_eq!(wrong.status.code(), Some(64));
    fs::write(one.path().join("file"), "").unwrap();
    let file = one.path().join("file");
    let mut command = Command::new(env!("CARGO_BIN_EXE_pinfold"));
    let output = command.arg("generate").arg(&file).output().unwrap();
    assert_eq!(output.status.code(), Some(71));
}

#[test]
fn man_has_nothing_to_complain_of_in_the_pages() {
    let Some([man]) = programs(["man"], "man-db") else {
        return;
    };
    let directory = Directory::create();
    assert!(generate(&directory, None).status.success());
    for page in PAGES {
        let mut command = Command::new(&man);
        command.args(["--warnings", "-E", "UTF-8", "-Tutf8", "-Z", "-l"]);
        command.arg(directory.path().join("out").join(page));
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{page}: {said}");
        assert_eq!(said, "", "{page}");

        // What people see: nothing is wider than their terminal, and no escape is left over.
        let mut command = Command::new(&man);
        command.env("MANWIDTH", "80").env("LC_ALL", "C.UTF-8");
        command
            .arg("-l")
            .arg(directory.path().join("out").join(page));
        let output = command.output().unwrap();
        let shown = String::from_utf8(output.stdout).unwrap();
        assert!(shown.lines().count() > 50, "{page}: {shown}");
        for line in shown.lines() {
            assert!(line.chars().count() <= 80, "{page}: {line}");
            assert!(
                !line.contains("\\f") && !line.contains('`'),
                "{page}: {line}"
            );
        }
    }
}

#[test]
fn bash_can_read_the_completion_and_completes_by_it() {
    let directory = Directory::create();
    assert!(generate(&directory, None).status.success());
    let file = directory.path().join("out/pinfold.bash");
    let script = format!(
        "set -u; source '{}'; COMP_WORDS=(pinfold vrr); COMP_CWORD=1; COMP_LINE='pinfold vrr'; COMP_POINT=11; \
         _pinfold pinfold vrr pinfold; echo \"${{COMPREPLY[*]}}\"",
        file.display()
    );
    let output = Command::new("bash")
        .args(["-n"])
        .arg(&file)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let output = Command::new("bash").args(["-c", &script]).output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "vrrp-check\n",
        "{output:?}"
    );
}
