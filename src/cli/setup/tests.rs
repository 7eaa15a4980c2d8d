use std::cell::Cell;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::*;
use crate::config::model::Config;
use crate::config::parse;

const KEY: &str = "0123456789abcdef";

fn talk(answers: &str, is_terminal: bool) -> (Result<Plan, Ended>, String) {
    let mut screen = Vec::new();
    let mut interview = Interview::new(answers.as_bytes(), &mut screen, is_terminal);
    let path = Path::new("/etc/pinfold/pinfold.toml");
    let plan = questions::ask(&mut interview, path, || Ok(KEY.to_owned()));
    (plan, String::from_utf8(screen).unwrap())
}

fn config(plan: &Plan) -> Config {
    match parse("pinfold.toml", &document::text(plan)) {
        Ok(loaded) => loaded.config,
        Err(mistakes) => panic!("{mistakes}\n{}", document::text(plan)),
    }
}

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/setup")
        .join(name)
}

/// The plan of `tests/data/setup/{name}.answers`, whose file is compared with the one beside it; PINFOLD_BLESS writes
/// that.
fn scripted(name: &str) -> (Plan, String) {
    let answers = std::fs::read_to_string(data(&format!("{name}.answers"))).unwrap();
    let (plan, screen) = talk(&answers, false);
    let plan = plan.unwrap_or_else(|ended| panic!("{ended:?}\n{screen}"));
    let text = document::text(&plan);
    let file = data(&format!("{name}.toml"));
    if std::env::var_os("PINFOLD_BLESS").is_some() {
        std::fs::write(&file, &text).unwrap();
    }
    let expected = std::fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(text, expected, "{}", file.display());
    (plan, screen)
}

#[test]
fn a_small_set_up_is_what_was_answered() {
    let (plan, screen) = scripted("small");
    let config = config(&plan);
    assert_eq!(config.listeners.len(), 1);
    assert_eq!(config.pools[0].nodes.len(), 2);
    assert!(config.partners.is_empty() && config.gateway.is_none());
    assert!(!screen.contains("  ! "), "{screen}");
}

#[test]
fn a_full_set_up_is_what_was_answered_and_wrong_answers_are_told_where_they_are_given() {
    let (plan, screen) = scripted("full");
    let config = config(&plan);
    let names: Vec<_> = config
        .listeners
        .iter()
        .map(|each| each.name.as_str())
        .collect();
    let services = [
        "federation",
        "xmpp",
        "access",
        "webconf",
        "av-tcp",
        "av-udp",
    ];
    let inside = ["internal-sip", "mras", "internal-av-tcp", "internal-av-udp"];
    assert_eq!(names, [&services[..], &inside].concat());
    assert_eq!(config.listeners[0].bind.len(), 2);
    assert_eq!(config.listeners[3].node_port, 444);
    let contact = config.partners[0].contact.as_deref();
    assert_eq!(contact, Some("NOC \"Berlin\" \\ +49 30 5550 111"));
    assert_eq!(config.partners.len(), 3);
    assert_eq!(config.server.placement_key.unwrap().0, KEY);
    assert_eq!(
        (config.server.view.len(), config.server.view_from.len()),
        (2, 1)
    );
    let complaints: Vec<_> = screen
        .lines()
        .filter(|line| line.starts_with("  ! "))
        .collect();
    assert_eq!(complaints.len(), 3, "{complaints:#?}");
    assert!(
        complaints[1].contains("by their addresses alone"),
        "{screen}"
    );
}

#[test]
fn every_question_says_why_and_fits_the_terminal() {
    let (_, screen) = scripted("full");
    for line in screen.lines() {
        // What is typed comes behind the question.
        let asked = line.split(": ").next().unwrap();
        assert!(asked.chars().count() <= 80, "{line}");
    }
    assert!(screen.matches("  Example: ").count() > 15, "{screen}");
}

#[test]
fn an_answer_that_cannot_be_put_in_force_is_refused_at_once() {
    let begin = "\nnone\n2\nedge1\n198.51.100.11\n";
    for (answers, complaint) in [
        ("a b\n", "is not a name"),
        ("\nnonsense\n", "\"nonsense\" is no service"),
        ("\nacces\n", "did you mean \"access\"?"),
        ("\nnone\n0\n", "is not a number from 1 to 64"),
        (&format!("{begin}edge1\n"), "stands here a second time"),
        (
            &format!("{begin}edge2\n198.51.100.11\n"),
            "has the address of node \"edge1\"",
        ),
        (
            &format!("{begin}edge2\nsip.contoso.com\n"),
            "is not an address of a node",
        ),
        (
            &format!("{begin}edge2\n198.51.100.12\n198.51.100.11\n"),
            "where listener \"federation\" listens",
        ),
        (
            &format!("{begin}edge2\n198.51.100.12\nsip.contoso.com\n"),
            "is not an address with a port",
        ),
        (
            &format!("{begin}edge2\n198.51.100.12\n\n"),
            "this needs an answer",
        ),
        (
            &format!("{begin}edge2\n198.51.100.12\n203.0.113.10\nperhaps\n"),
            "is neither yes nor no",
        ),
    ] {
        let (plan, screen) = talk(answers, false);
        assert!(matches!(plan, Err(Ended::EndOfInput(_))), "{answers}");
        let flat = screen.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(flat.contains(complaint), "{answers}: {screen}");
    }
}

#[test]
fn what_is_typed_cannot_end_the_quotes_it_stands_in() {
    let answers = std::fs::read_to_string(data("full.answers")).unwrap();
    for contact in [
        "\"",
        "\\\"\n[server]",
        "x\" # \"",
        "\\",
        "\\u0022",
        "\u{202e}\"\"\"",
        "'''",
    ] {
        let answers = answers.replace("NOC \"Berlin\" \\ +49 30 5550 111", contact);
        let Ok(plan) = talk(&answers, true).0 else {
            continue;
        };
        let typed = contact.lines().next().unwrap();
        assert_eq!(config(&plan).partners[0].contact.as_deref(), Some(typed));
        assert_eq!(
            config(&plan).server.admin,
            config(&scripted("full").0).server.admin
        );
    }
    for name in ["\"]\nadmin = \"off", "a\"b", "a\u{7f}b", "\u{1b}[2J"] {
        let (plan, screen) = talk(&format!("{name}\n"), false);
        assert!(plan.is_err(), "{name:?}");
        assert!(
            !screen.contains('\u{1b}') && !screen.contains('\u{7f}'),
            "{screen:?}"
        );
    }
}

/// Answers of all kinds, of which many fit no question.
fn answers() -> impl Strategy<Value = Vec<String>> {
    let known = prop::sample::select(vec![
        "",
        "",
        "",
        "yes",
        "no",
        "none",
        "none",
        "new",
        "open",
        "closed",
        "1",
        "2",
        "access",
        "av internal",
        "xmpp",
        "edge1",
        "edge2",
        "fabrikam",
        "adatum",
        "198.51.100.11",
        "198.51.100.12",
        "192.0.2.11",
        "192.0.2.12",
        "203.0.113.10",
        "203.0.113.20",
        "203.0.113.30:444",
        "2001:db8::1",
        "0.0.0.0",
        "127.0.0.1",
        "ens192",
        "ens224",
        "sip.fabrikam.com",
        "192.0.2.0/28",
        "unix:/run/a.sock",
        "192.0.2.5:9062",
        "\"",
        "a\"b\\",
    ]);
    let address = (0_u8..4, 0_u8..40).prop_map(|(net, host)| format!("10.0.{net}.{host}"));
    let answer = prop_oneof![
        6 => known.prop_map(ToOwned::to_owned),
        3 => address,
        1 => "[ -~]{0,12}",
        1 => "\\PC{0,6}",
    ];
    prop::collection::vec(answer, 400)
}

#[test]
fn whatever_is_accepted_passes_the_check_and_says_what_was_answered() {
    let mut runner = TestRunner::new(ProptestConfig::with_cases(96));
    let accepted = Cell::new(0);
    let outcome = runner.run(&answers(), |answers| {
        // As people do: wrong answers are asked for again, until it is done or nothing is left to say.
        match talk(&(answers.join("\n") + "\n"), true) {
            (Ok(plan), _) => {
                accepted.set(accepted.get() + 1);
                let config = config(&plan);
                prop_assert!(config.unavailable.is_empty());
                let nodes = config.pools[0].nodes.iter().map(|node| &node.name);
                let planned = plan.nodes.iter().map(|node| &node.name);
                prop_assert!(nodes.eq(planned));
                let partners = config.partners.iter();
                let partners = partners.map(|each| (&each.name, &each.contact));
                let planned = plan.partners.iter();
                let planned = planned.map(|each| (&each.name, &each.contact));
                prop_assert!(partners.eq(planned));
            }
            (Err(Ended::EndOfInput(_) | Ended::Quit), _) => {}
            (Err(ended), screen) => prop_assert!(false, "{ended:?}\n{screen}"),
        }
        Ok(())
    });
    outcome.unwrap();
    assert!(
        accepted.get() > 10,
        "only {} came to an end",
        accepted.get()
    );
}

#[test]
fn the_next_steps_are_those_of_the_set_up() {
    let home = Path::new("/etc/pinfold/pinfold.toml");
    let (full, small) = (scripted("full").0, scripted("small").0);
    let steps = next(&full, home);
    for step in [
        KEY,
        "pinfold-host-rules",
        "enable --now pinfold\n",
        "pinfold status",
    ] {
        assert!(steps.contains(step), "{steps}");
    }
    let steps = next(&small, home);
    assert!(
        !steps.contains("host-rules") && !steps.contains("key"),
        "{steps}"
    );
    assert!(
        steps.starts_with("next:\n  1. systemctl enable --now pinfold\n"),
        "{steps}"
    );
    let elsewhere = next(&small, Path::new("/tmp/a.toml"));
    assert!(
        elsewhere.contains("pinfold serve --config /tmp/a.toml"),
        "{elsewhere}"
    );
}

#[test]
fn a_file_that_somebody_has_put_there_meanwhile_stays() {
    let folder = std::env::temp_dir().join(format!("pinfold-setup-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    let path = folder.join("pinfold.toml");
    std::fs::write(&path, "somebody's").unwrap();
    let refused = file::write(&path, "ours", false).unwrap_err();
    assert_eq!(refused.exit_code(), 64);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "somebody's");
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn every_generation_can_be_chosen_by_the_number_that_is_shown() {
    let answers = std::fs::read_to_string(data("full.answers")).unwrap();
    let (_, screen) = talk(&answers, false);
    let shown = screen
        .split_whitespace()
        .filter_map(|word| word.split_once('='));
    let shown = shown.filter(|(number, _)| !number.is_empty());
    let shown: Vec<_> = shown
        .map(|(number, name)| (number, name.trim_end_matches([',', '.'])))
        .collect();
    assert_eq!(shown.len(), 11, "{shown:?}");
    for (number, name) in shown {
        let answers = answers.replace("fabrikam\n3\n", &format!("fabrikam\n{number}\n"));
        let plan = talk(&answers, false).0.unwrap();
        assert_eq!(plan.partners[0].generation, name);
    }
}
