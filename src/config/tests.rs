//! Tests of the whole path from text to model.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::config::model::{Config, Family, Pin, ProbeKind};
use crate::config::schema::Section;

const SHIPPED: &str = include_str!("../../packaging/pinfold.toml");

fn good(text: &str) -> Loaded {
    match parse("pinfold.toml", text) {
        Ok(loaded) => loaded,
        Err(diagnostics) => panic!("{}", diagnostics.render(Style::Plain)),
    }
}

fn report(text: &str) -> String {
    match parse("pinfold.toml", text) {
        Ok(loaded) => loaded.warnings.render(Style::Plain),
        Err(diagnostics) => diagnostics.render(Style::Plain),
    }
}

/// The files of `tests/data/config/{folder}`, sorted.
fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/config")
        .join(folder);
    let entries = std::fs::read_dir(&folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|ending| ending == "toml"))
        .collect();
    files.sort();
    assert!(files.len() >= 6, "{} is nearly empty", folder.display());
    files
}

/// Compares with the sibling that ends in `ending`, or writes it where PINFOLD_BLESS is set.
fn check_lines(path: &Path, ending: &str, lines: &[String]) {
    let expected_path = path.with_extension(ending);
    let found = lines
        .iter()
        .map(|line| format!("{line}\n"))
        .collect::<String>();
    if std::env::var_os("PINFOLD_BLESS").is_some() {
        std::fs::write(&expected_path, &found).unwrap();
    }
    let expected = std::fs::read_to_string(&expected_path).unwrap_or_default();
    assert_eq!(found, expected, "{}", expected_path.display());
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

#[test]
fn every_valid_file_loads_with_the_expected_warnings() {
    for path in files("valid") {
        let text = std::fs::read_to_string(&path).unwrap();
        match parse(&name_of(&path), &text) {
            Ok(loaded) => check_lines(&path, "txt", &loaded.warnings.lines()),
            Err(diagnostics) => panic!("{}", diagnostics.render(Style::Plain)),
        }
    }
}

#[test]
fn every_invalid_file_is_refused_with_the_expected_diagnostics() {
    for path in files("invalid") {
        let text = std::fs::read_to_string(&path).unwrap();
        match parse(&name_of(&path), &text) {
            Ok(_) => panic!("{} loads", path.display()),
            Err(diagnostics) => check_lines(&path, "txt", &diagnostics.lines()),
        }
    }
}

#[test]
fn what_this_version_cannot_do_is_named_with_its_place() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/config/valid/later.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let unavailable = good(&text).config.unavailable;
    let line = |each: &model::Unavailable| format!("{}: {}", each.place, each.what);
    let found: Vec<String> = unavailable.iter().map(line).collect();
    check_lines(&path, "unavailable", &found);
}

#[test]
fn the_shipped_file_loads_without_warnings_and_asks_for_nothing_unavailable() {
    let loaded = good(SHIPPED);
    assert_eq!(loaded.warnings.lines(), Vec::<String>::new());
    assert_eq!(loaded.config.unavailable, []);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/pinfold.toml");
    assert_eq!(load(&path).unwrap().config, loaded.config);
}

/// The key of a line such as `  # key = value`, and whether the line is a comment.
fn commented_key(line: &str) -> Option<&str> {
    let (key, _) = line.trim_start().strip_prefix("# ")?.split_once(" = ")?;
    let is_key = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    key.chars().all(is_key).then_some(key)
}

#[test]
fn every_default_in_the_shipped_file_is_the_default() {
    let shipped = good(SHIPPED).config;
    let mut uncommented = 0;
    let lines: Vec<String> = SHIPPED
        .lines()
        .map(|line| match commented_key(line) {
            Some(_) => {
                uncommented += 1;
                line.replacen("# ", "", 1)
            }
            None => line.to_owned(),
        })
        .collect();
    assert!(uncommented > 70, "{uncommented}");
    let written_out = good(&lines.join("\n"));
    assert_eq!(written_out.config, shipped);
    assert_eq!(written_out.warnings.lines(), Vec::<String>::new());
}

#[test]
fn every_key_stands_in_the_shipped_file() {
    let mut shown: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut header = "";
    for line in SHIPPED.lines() {
        let bare = line
            .trim_start()
            .trim_start_matches("# ")
            .trim_start_matches("example: ");
        let is_comment = line.trim_start().starts_with('#') && !line.contains("example: ");
        if bare.starts_with('[') && !is_comment {
            header = bare;
        } else if let Some((key, value)) = bare.split_once(" = ") {
            shown.entry(header).or_default().insert(key);
            let inner = value
                .split(['{', ','])
                .filter_map(|part| part.split_once(" = "));
            let inner = inner.map(|(key, _)| key.trim());
            shown.entry(key).or_default().extend(inner);
        }
    }
    for (section, keys) in schema::keys() {
        let table = section
            .header()
            .trim_matches(['[', ']'])
            .rsplit('.')
            .next()
            .unwrap();
        for key in keys {
            let is_table = |inner: &Section| {
                inner.parent() == Some(*section)
                    && inner.header().trim_matches(['[', ']']).rsplit('.').next() == Some(*key)
                    && SHIPPED.contains(inner.header())
            };
            let stands = |place| shown.get(place).is_some_and(|keys| keys.contains(key));
            assert!(
                stands(section.header()) || stands(table) || Section::ALL.iter().any(is_table),
                "{section:?} {key}"
            );
        }
    }
}

#[test]
fn a_listener_has_the_presets_of_its_service_and_the_values_of_the_file() {
    let Config { listeners, .. } = good(SHIPPED).config;
    let federation = &listeners[0];
    assert_eq!(federation.pin, Pin::Partner);
    assert_eq!(federation.node_port, 5061);
    assert_eq!(federation.probe.kind, ProbeKind::TlsHello);
    assert_eq!(federation.probe.interval, Duration::from_millis(400));
    assert_eq!(federation.idle_timeout, Some(Duration::from_secs(7200)));
    let webconf = &listeners[2];
    assert_eq!((webconf.family, webconf.node_port), (Family::Webconf, 443));
    assert_eq!(webconf.probe.silence, Duration::from_secs(3));
    assert_eq!(listeners[4].node_port, 5062);
}

#[test]
fn audio_and_video_are_asked_by_their_own_transport() {
    let kind_of = |service: &str, probe: &str| {
        let text = format!(
            "version = 1\n[[pool]]\nname = \"edge\"\nnode = [{{ name = \"a\", address = \"127.0.0.1\" }}]\n\
             [[listener]]\nname = \"av\"\nbind = \"127.0.0.1:0\"\nservice = \"{service}\"\n\
             node_port = 3478\npool = \"edge\"\n{probe}"
        );
        let Config {
            listeners,
            unavailable,
            ..
        } = good(&text).config;
        let is_of_probe = |each: &model::Unavailable| each.what.contains("kind");
        assert!(!unavailable.iter().any(is_of_probe), "{unavailable:?}");
        listeners[0].probe.kind
    };
    for service in ["av-tcp", "internal-av-tcp"] {
        assert_eq!(kind_of(service, ""), ProbeKind::Tcp, "it is not real TLS");
    }
    for service in ["av-udp", "internal-av-udp"] {
        assert_eq!(kind_of(service, ""), ProbeKind::TurnAllocate);
    }
    assert_eq!(kind_of("udp", ""), ProbeKind::None);
    for (kind, expected) in [
        ("turn-allocate", ProbeKind::TurnAllocate),
        ("none", ProbeKind::None),
    ] {
        let probe = format!("probe.kind = \"{kind}\"\n");
        assert_eq!(kind_of("udp", &probe), expected);
    }
}

#[test]
fn a_udp_listener_at_every_address_is_refused_because_it_knows_none_to_answer_from() {
    let text = |service: &str, bind: &str| {
        format!(
            "version = 1\n[[pool]]\nname = \"edge\"\n[[pool.node]]\nname = \"edge1\"\n\
             address = \"127.0.0.1:7\"\n[[listener]]\nname = \"media\"\nbind = {bind}\n\
             service = \"{service}\"\npool = \"edge\"\nnode_port = 9\n"
        )
    };
    for bind in ["\"0.0.0.0:9000\"", "\"[::]:9000\""] {
        let report = report(&text("udp", bind));
        assert!(
            report.contains("is no address to answer UDP from"),
            "{report}"
        );
    }
    let title = "to answer UDP from";
    assert!(!report(&text("udp", "\"127.0.0.1:9000\"")).contains(title));
    assert!(!report(&text("tcp", "\"0.0.0.0:9000\"")).contains(title));
}

#[test]
fn a_key_under_the_wrong_header_is_sent_back_to_its_table() {
    let text = "version = 1
server.state_dir = \"/x\"
[[pool]]
name = \"edge\"
  [[pool.node]]
  name = \"edge1\"
  address = \"127.0.0.1:1\"
  [[pool.node]]
  name = \"edge2\"
  address = \"127.0.0.1:2\"
balance = \"source-hash\"
";
    let expected = "\
warning: pinfold.toml:4:8: no listener uses pool \"edge\"
  |
4 | name = \"edge\"
  |        ^^^^^^

error: pinfold.toml:11:1: `balance` stands in [[pool.node]] \"edge2\" and belongs to [[pool]] \"edge\"
   |
11 | balance = \"source-hash\"
   | ^^^^^^^
   |
   = why: in TOML a key belongs to the last table header above it, here [[pool.node]] in line 8
   = help: move it above line 5, the first [[pool.node]]

1 error, 1 warning
";
    assert_eq!(report(text), expected);
}

#[test]
fn audio_and_video_behind_source_translation_is_refused_with_its_source() {
    let text = include_str!("../../tests/data/config/invalid/snat-on-av.toml");
    let expected = "\
error: pinfold.toml:19:10: source = \"snat\" is forbidden on service \"av-udp\"
   |
19 | source = \"snat\"
   |          ^^^^^^
   |
   = why: the A/V Edge must see the client's own address, or audio is one-way (Microsoft, load balancing requirements, A/V Edge)
   = help: remove the line (\"transparent\" is the preset) and make this machine the nodes' gateway

1 error
";
    assert_eq!(report(text), expected);
}

#[test]
fn a_typing_error_in_a_key_or_a_word_is_answered_with_the_nearest() {
    let text = "version = 1
server.state_dir = \"/x\"
[log]
levle = \"info\"
format = \"jsno\"
";
    let expected = "\
error: pinfold.toml:4:1: unknown key `levle` in [log]
  |
4 | levle = \"info\"
  | ^^^^^
  |
  = why: it would have no effect, and what was meant by it would be missing
  = help: did you mean `level`?

error: pinfold.toml:5:10: format = \"jsno\" is not known
  |
5 | format = \"jsno\"
  |          ^^^^^^
  |
  = help: did you mean \"json\"? it can be: text | json

2 errors
";
    assert_eq!(report(text), expected);
}

#[test]
fn a_file_that_cannot_be_read_is_named_with_the_cause() {
    let refused = load(Path::new("/nowhere/pinfold.toml")).unwrap_err();
    assert_eq!(
        refused.render(Style::Plain),
        "error: /nowhere/pinfold.toml: cannot read the configuration: \
         No such file or directory (os error 2)\n\n1 error\n"
    );
    assert!(load(Path::new("/")).is_err());
}

#[test]
fn a_secret_appears_in_no_message() {
    for line in [
        "placement_key = [\"hush\"]",
        "placment_key = \"hush\"",
        "placement_key = \"hush\" x",
    ] {
        let text = format!("version = 1\n[server]\n{line}\n");
        assert!(!report(&text).contains("hush"), "{}", report(&text));
    }
    let loaded = good("version = 1\nserver.placement_key = \"hush\"\n");
    assert!(!format!("{:?}", loaded.config).contains("hush"));
}

/// Renders everything there is to render.
fn exercise(text: &str) {
    let found = match parse("a.toml", text) {
        Ok(loaded) => {
            assert!(diff::diff(&loaded.config, &loaded.config).is_empty());
            let _ = machine_warnings(&loaded, &Machine::default()).render(Style::Plain);
            loaded.warnings
        }
        Err(diagnostics) => {
            assert!(diagnostics.has_errors());
            diagnostics
        }
    };
    let _ = (
        found.render(Style::Plain),
        found.render(Style::Coloured),
        found.to_string(),
    );
    assert!(found.lines().iter().all(|line| !line.contains('\n')));
}

/// The lines of all that is shipped or tested, with comments opened.
fn lines() -> Vec<String> {
    let mut texts = vec![SHIPPED.to_owned()];
    for path in files("valid").into_iter().chain(files("invalid")) {
        texts.push(std::fs::read_to_string(path).unwrap());
    }
    let lines = texts.iter().flat_map(|text| text.lines());
    lines
        .map(|line| line.trim_start_matches([' ', '#']).to_owned())
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_text_makes_it_panic(text in any::<String>()) {
        exercise(&text);
        exercise(&format!("version = 1\n{text}"));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        exercise(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn no_damage_to_the_shipped_file_makes_it_panic(
        cuts in proptest::collection::vec((0..SHIPPED.len(), 0..40_usize, ".{0,6}"), 1..6),
    ) {
        let mut text = SHIPPED.to_owned();
        for (at, length, insert) in cuts {
            let from = text.floor_char_boundary(at.min(text.len()));
            let to = text.floor_char_boundary((from + length).min(text.len()));
            text.replace_range(from..to.max(from), &insert);
        }
        exercise(&text);
    }

    #[test]
    fn no_shuffle_of_lines_makes_it_panic(
        picks in proptest::collection::vec(any::<proptest::sample::Index>(), 1..60),
    ) {
        let lines = lines();
        let mut text = "version = 1\n".to_owned();
        for pick in picks {
            let line = pick.get(&lines);
            // A header or a key alone that TOML refuses would end the walk before it began.
            let longer = format!("{text}{line}\n");
            if toml::de::DeTable::parse(&longer).is_ok() {
                text = longer;
            }
        }
        exercise(&text);
    }
}

/// A folder of this test's own, gone when it ends.
struct Folder(PathBuf);

impl Folder {
    fn new(files: &[(&str, &str)]) -> Self {
        let name = format!(
            "pinfold-config-{}-{}",
            std::process::id(),
            fastrand::u64(..)
        );
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(folder.join("partners.d")).unwrap();
        for (name, text) in files {
            std::fs::write(folder.join(name), text).unwrap();
        }
        Self(folder)
    }

    fn load(&self) -> Result<Loaded, Diagnostics> {
        load(&self.0.join("pinfold.toml"))
    }

    /// The lines of a refusal, without the folder.
    fn refusals(&self) -> Vec<String> {
        let folder = format!("{}/", self.0.display());
        let lines = self.load().unwrap_err().lines();
        lines.iter().map(|line| line.replace(&folder, "")).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const INCLUDING: &str = "version = 1\ninclude = [\"partners.d/*.toml\"]\n[server]\nstate_dir = \"/x\"\n\
    [[partner]]\nname = \"fabrikam\"\naddresses = [\"192.0.2.1\"]\n";

#[test]
fn included_partners_follow_those_of_the_file_in_the_order_of_names() {
    let folder = Folder::new(&[
        ("pinfold.toml", INCLUDING),
        ("partners.d/b.toml", "[[partner]]\nname = \"adatum\"\n"),
        (
            "partners.d/a.toml",
            "[[partner]]\nname = \"tailspin\"\n[[partner]]\nname = \"woodgrove\"",
        ),
        ("partners.d/c.txt", "not read"),
    ]);
    let config = folder.load().unwrap().config;
    let names: Vec<_> = config.partners.iter().map(|each| &*each.name).collect();
    assert_eq!(names, ["fabrikam", "tailspin", "woodgrove", "adatum"]);
}

#[test]
fn mistakes_in_included_files_are_told_all_at_once_each_with_its_own_place() {
    let folder = Folder::new(&[
        (
            "pinfold.toml",
            &INCLUDING.replace("[server]", "[server]\nworkerz = 1"),
        ),
        (
            "partners.d/a.toml",
            "[[partner]]\nname = \"adatum\"\n[server]\nworkers = 3\n",
        ),
        (
            "partners.d/b.toml",
            "stray = 1\n[[partner]]\nname = \"tailspin\"\n",
        ),
        ("partners.d/c.toml", "[[partner]\n"),
    ]);
    let lines = folder.refusals();
    let starts = |start: &str| {
        assert!(
            lines.iter().any(|line| line.starts_with(start)),
            "{start}: {lines:#?}"
        )
    };
    starts("pinfold.toml:4:1: unknown key `workerz`");
    starts(
        "partners.d/a.toml:3:2: an included file holds [[partner]] tables only, and `server` is none",
    );
    starts(
        "partners.d/b.toml:1:1: an included file holds [[partner]] tables only, and `stray` is none",
    );
    starts("partners.d/c.toml:1:");
    assert_eq!(lines.len(), 4, "{lines:#?}");
}

#[test]
fn what_clashes_between_files_names_both() {
    let folder = Folder::new(&[
        ("pinfold.toml", INCLUDING),
        (
            "partners.d/a.toml",
            "\n[[partner]]\nname = \"fabrikam\"\nwindow = 1\n",
        ),
    ]);
    let lines = folder.refusals();
    assert!(
        lines[0]
            .starts_with("partners.d/a.toml:3:8: partner \"fabrikam\" stands here a second time"),
        "{lines:#?}"
    );
    assert!(
        lines[1]
            .starts_with("partners.d/a.toml:4:1: unknown key `window` in [[partner]] \"fabrikam\""),
        "{lines:#?}"
    );
    let report = folder.load().unwrap_err().render(Style::Plain);
    assert!(report.contains("4 | window = 1"), "{report}");
    assert!(report.contains("pinfold.toml, line 6"), "{report}");
}

#[test]
fn a_plain_path_must_exist_and_a_pattern_need_not_match() {
    let including = INCLUDING.replace("partners.d/*.toml", "partners.d/none-*.toml");
    Folder::new(&[("pinfold.toml", &including)]).load().unwrap();
    let including = INCLUDING.replace("partners.d/*.toml", "partners.d/none.toml");
    let lines = Folder::new(&[("pinfold.toml", &including)]).refusals();
    assert!(
        lines[0].starts_with("pinfold.toml:2:12: include: cannot read partners.d/none.toml"),
        "{lines:#?}"
    );
}
