//! `pinfold setup`, answered by a script: what it writes serves, and what goes wrong leaves nothing behind.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::world::{Caller, Directory, FABRIKAM, Pinfold, edge};

/// What comes of `pinfold setup` with these answers.
fn setup(file: &Path, answers: &str, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pinfold"));
    command.arg("setup").arg("--output").arg(file).args(more);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // One that has heard enough does not read to the end.
    let _ = child.stdin.take().unwrap().write_all(answers.as_bytes());
    child.wait_with_output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn scripted(name: &str) -> String {
    let file = format!("tests/data/setup/{name}.answers");
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap()
}

/// The names of the files in a directory.
fn names(folder: &Path) -> Vec<String> {
    let files = fs::read_dir(folder).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort_unstable();
    names
}

/// A directory of its own, and a file in it that is not there yet.
fn place(directory: &Directory) -> PathBuf {
    let folder = directory.path().join("etc");
    fs::create_dir(&folder).unwrap();
    folder.join("pinfold.toml")
}

#[test]
fn what_it_writes_is_for_its_group_passes_the_check_and_says_what_comes_next() {
    let directory = Directory::create();
    let file = place(&directory);
    let folder = file.parent().unwrap();
    // A group that nobody is in, where this process may give one away; its own otherwise.
    let _ = chown(folder, None, Some(12_345));
    let output = setup(&file, &scripted("full"), &[]);
    assert!(output.status.success(), "{}", stderr(&output));
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        said.contains("ok: 10 listeners, 2 nodes, 3 partners"),
        "{said}"
    );
    assert!(said.contains("next:\n"), "{said}");
    assert_eq!(names(folder), ["pinfold.toml"]);
    let metadata = fs::metadata(&file).unwrap();
    assert_eq!(metadata.mode() & 0o7777, 0o640);
    assert_eq!(metadata.gid(), fs::metadata(folder).unwrap().gid());
    let mut check = Command::new(env!("CARGO_BIN_EXE_pinfold"));
    let check = check.arg("check").arg(&file).output().unwrap();
    assert!(check.status.success(), "{}", stderr(&check));
    // The key was made, and is shown for the other appliance.
    let text = fs::read_to_string(&file).unwrap();
    let key = text.split("placement_key = \"").nth(1).unwrap();
    let key = key.split('"').next().unwrap();
    assert!(key.len() >= 32 && said.contains(key), "{said}");
}

#[test]
fn an_existing_file_stays_and_is_kept_beside_the_new_one_by_force() {
    let directory = Directory::create();
    let file = place(&directory);
    let folder = file.parent().unwrap();
    for (number, old) in ["one", "two"].into_iter().enumerate() {
        fs::write(&file, old).unwrap();
        let output = setup(&file, &scripted("small"), &[]);
        assert_eq!(output.status.code(), Some(64));
        assert!(stderr(&output).contains("--force"), "{}", stderr(&output));
        assert!(
            !stderr(&output).contains("pool name"),
            "before any question"
        );
        assert_eq!(fs::read_to_string(&file).unwrap(), old);

        let output = setup(&file, &scripted("small"), &["--force"]);
        assert!(output.status.success(), "{}", stderr(&output));
        let kept = folder.join(format!("pinfold.toml.old-{}", number + 1));
        assert_eq!(fs::read_to_string(&kept).unwrap(), old);
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(said.contains(kept.to_str().unwrap()), "{said}");
        assert!(fs::read_to_string(&file).unwrap().contains("[[pool]]"));
    }
    let kept = ["pinfold.toml", "pinfold.toml.old-1", "pinfold.toml.old-2"];
    assert_eq!(names(folder), kept);
}

#[test]
fn what_goes_wrong_leaves_nothing_behind_and_says_which_question_it_was() {
    let directory = Directory::create();
    let file = place(&directory);
    let small = scripted("small");
    let all_but_one = small.trim_end_matches('\n').to_owned();
    for (answers, named) in [
        ("", "\"pool name\""),
        (&*all_but_one, "was answered: nothing was written"),
        (
            "a b\nc d\ne f\n",
            "\"pool name\" was answered wrongly too often",
        ),
        ("q\n", "nothing was written"),
        ("\nquit\n", "nothing was written"),
    ] {
        let output = setup(&file, answers, &[]);
        assert_eq!(output.status.code(), Some(64), "{}", stderr(&output));
        let said = stderr(&output);
        assert!(said.lines().last().unwrap().contains(named), "{said}");
        assert_eq!(names(file.parent().unwrap()), Vec::<String>::new());
    }
    // Where nothing can be written, it is said before the first question.
    let no_folder = directory.path().join("file");
    fs::write(&no_folder, "").unwrap();
    let output = setup(&no_folder.join("pinfold.toml"), &small, &[]);
    assert_eq!(output.status.code(), Some(71), "{}", stderr(&output));
    assert!(
        !stderr(&output).contains("pool name"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn what_it_writes_serves() {
    let node = edge("edge1");
    let directory = Directory::create();
    let file = place(&directory);
    let answers = format!(
        "\nnone\n1\n\n{}\n127.0.0.1:0\nno\nopen\nfabrikam\nocs-2007\nnone\nnone\n{FABRIKAM}\nnone\n\nno\n\n\n",
        node.address()
    );
    let output = setup(&file, &answers, &[]);
    assert!(output.status.success(), "{}", stderr(&output));
    // Only where this test keeps its files is changed.
    let text = fs::read_to_string(&file).unwrap();
    let server = format!(
        "[server]\nadmin = \"unix:{}\"\nstate_dir = \"{}\"\n#",
        directory.admin().display(),
        directory.state().display()
    );
    let (head, rest) = text.split_once("[server]\n").unwrap();
    let rest = rest.replace("state_dir = ", "# state_dir = ");
    directory.write_text(&format!("{head}{server}{rest}"));
    let pinfold = Pinfold::start(&directory);
    pinfold.wait_ready();
    pinfold.wait_health("edge1", "up");
    let (_caller, served) = Caller::served(pinfold.address("federation"), FABRIKAM).unwrap();
    assert_eq!(served, "edge1");
    assert_eq!(pinfold.pin("fabrikam").as_deref(), Some("edge1"));
}
