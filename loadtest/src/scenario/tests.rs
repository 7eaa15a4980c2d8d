use super::*;

const SMALL: &str = r#"
title = "t"
about = "a"
[run]
warm_up = "1s"
measure = "10s"
[[round-trips]]
name = "talk"
connections = 4
[[partners]]
name = "stubborn"
generation = "ocs-2007"
partners = 2
interval = "5ms"
"#;

fn parse(more: &str) -> io::Result<Scenario> {
    Scenario::parse("t", &format!("{SMALL}{more}"))
}

#[test]
fn every_shipped_scenario_is_one_and_has_something_to_hold() {
    let mut count = 0;
    for (name, text) in shipped() {
        let scenario = Scenario::parse(name, text).unwrap();
        assert_eq!(scenario.name, name);
        assert!(!scenario.expectations.is_empty(), "{name}");
        assert!(
            scenario.about.lines().all(|line| line.len() <= 110),
            "{name}"
        );
        count += 1;
    }
    assert!(count > 10);
}

#[test]
fn every_scenario_file_is_shipped() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let files = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = files
        .map(|file| {
            file.unwrap()
                .path()
                .file_stem()
                .unwrap()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    let mut known: Vec<_> = shipped().map(|(name, _)| name.to_owned()).collect();
    names.sort();
    known.sort();
    assert_eq!(names, known);
}

#[test]
fn mistakes_are_named_with_their_remedy() {
    for (more, expected) in [
        ("colour = 1\n", "unknown field"),
        (
            "[[idle]]\nname = \"talk\"\nsessions = 1\n",
            "two loads are called \"talk\"",
        ),
        (
            "[[idle]]\nname = \"a.b\"\nsessions = 1\n",
            "cannot name a load",
        ),
        ("[[idle]]\nname = \"i\"\nsessions = 0\n", "from 1 to"),
        (
            "[[idle]]\nname = \"i\"\nlistener = \"x\"\nsessions = 1\n",
            "[[balancer.listeners]]",
        ),
        (
            "[[expect]]\nfigure = \"nobody.p50_us\"\nat_most = 1\n",
            "is not a figure",
        ),
        (
            "[[expect]]\nfigure = \"talk.p51_us\"\nat_most = 1\n",
            "scenarios --figures",
        ),
        (
            "[[expect]]\nfigure = \"talk.p50_us\"\n",
            "nothing is expected",
        ),
        (
            "[[event]]\nat = \"11s\"\nto = \"edge1\"\ncommand = \"kill\"\n",
            "after the end",
        ),
        (
            "[[event]]\nat = \"10s\"\nto = \"edge1\"\ncommand = \"kill\"\n",
            "after the end",
        ),
        (
            "[[expect]]\nfigure = \"talk.p50_us\"\nat_most = 1\nfor = [\"pinfolt\"]\n",
            "\"pinfolt\" is not a balancer: one of pinfold, ",
        ),
        (
            "[[ratio]]\nfigure = \"talk.p50_us\"\nat_most = 1\nagainst = [\"haproxi\"]\n",
            ", direct, elsewhere",
        ),
        (
            "[[event]]\nat = \"1s\"\nto = \"edge1\"\ncommand = \"kill\"\ntimes = 5\nevery = \"3s\"\n",
            "after the end",
        ),
        (
            "[[event]]\nat = \"1s\"\nto = \"edge9\"\ncommand = \"kill\"\n",
            "edge9",
        ),
        (
            "[[event]]\nat = \"1s\"\nto = \"of talk\"\ncommand = \"kill\"\n",
            "of PARTNERS",
        ),
        (
            "[[event]]\nat = \"1s\"\nto = \"balancer\"\ncommand = \"kill\"\n",
            "can `reload`",
        ),
        (
            "[[event]]\nat = \"soon\"\nto = \"edge1\"\ncommand = \"kill\"\n",
            "length of time",
        ),
    ] {
        let error = parse(more).expect_err(more).to_string();
        assert!(error.contains(expected), "{more}: {error}");
        assert!(error.contains("scenario \"t\""));
    }
}

#[test]
fn mistakes_about_tls_are_named_with_their_remedy() {
    for (more, expected) in [
        (
            "[[connects]]\nname = \"c\"\nat_once = 1\nhandshakes = \"resumed\"\n",
            "for a listener with `terminate`",
        ),
        (
            "[[balancer.listeners]]\nname = \"main\"\nterminate = {}\n",
            "write service = \"tcp\"",
        ),
        (
            "[[balancer.listeners]]\nname = \"main\"\nservice = \"tcp\"\nterminate = {}\n",
            "load \"stubborn\": its listener has `terminate`",
        ),
        (
            "[[balancer.listeners]]\nservice = \"tcp\"\nterminate = { version = \"1.2\" }\n",
            "write key = \"rsa-2048\"",
        ),
    ] {
        let error = parse(more).expect_err(more).to_string();
        assert!(error.contains(expected), "{more}: {error}");
    }
}

#[test]
fn an_event_happens_as_often_as_it_says() {
    let event = "[[event]]\nat = \"1s\"\nto = \"of stubborn\"\ncommand = \"kill\"\ntimes = 3\nevery = \"2s\"\n";
    let scenario = parse(event).unwrap();
    let times: Vec<_> = scenario.events[0].occurrences().collect();
    assert_eq!(times, [1, 3, 5].map(Duration::from_secs));
}

#[test]
fn scaling_never_scales_to_nothing_and_keeps_the_sign_in_rate() {
    let users = "[[users]]\nname = \"users\"\nusers = 12000\nsign_in_rate = 12\nkeep_alive = \"5m\"\nmessages_per_hour = 20\nmessage_bytes = 900\n";
    let mut scenario = parse(users).unwrap();
    scenario.scale(0.01);
    assert_eq!(
        (scenario.users[0].users, scenario.partners[0].partners),
        (120, 1)
    );
    assert!((scenario.users[0].sign_in_rate - 12.0).abs() < f64::EPSILON);
}

#[test]
fn a_limit_holds_for_loads_that_have_no_rate_too() {
    let mut scenario = parse("[[flood]]\nname = \"flood\"\nrate = 1000\nheld = 5\n").unwrap();
    scenario.limit(50.0);
    assert_eq!(scenario.round_trips[0].rate, Some(50.0));
    assert!((scenario.flood[0].rate - 50.0).abs() < f64::EPSILON);
}

#[test]
fn partners_of_different_groups_call_from_different_addresses() {
    let scenario = parse("[[partners]]\nname = \"more\"\ngeneration = \"lync-2013\"\npartners = 300\ninterval = \"1s\"\n").unwrap();
    let mut addresses = std::collections::HashSet::new();
    for group in &scenario.partners {
        for number in 0..group.partners {
            assert!(addresses.insert(group.address_of(number)));
        }
    }
    assert_eq!(addresses.len(), 302);
}

#[test]
fn an_unknown_name_is_answered_with_the_known_ones() {
    let error = Scenario::open("no-such-scenario").unwrap_err().to_string();
    assert!(error.contains("bulk-one"), "{error}");
}
