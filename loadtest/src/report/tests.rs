use super::*;

fn run(balancer: &str, round: u32, figures: &[(&str, f64)]) -> Run {
    let figures = figures
        .iter()
        .map(|(name, value)| ((*name).to_owned(), *value));
    Run {
        round,
        findings: Findings {
            balancer: balancer.to_owned(),
            figures: figures.collect(),
            ..Findings::default()
        },
    }
}

fn scenario(rules: &str) -> Scenario {
    let text = format!(
        "title = \"t\"\nabout = \"a\"\n[run]\nwarm_up = \"0s\"\nmeasure = \"1s\"\n\
         [[round-trips]]\nname = \"talk\"\nconnections = 1\n{rules}"
    );
    Scenario::parse("t", &text).unwrap()
}

#[test]
fn an_expectation_holds_only_if_it_holds_in_every_run() {
    let scenario = scenario("[[expect]]\nfigure = \"talk.reset\"\nat_most = 0\n");
    let runs = vec![
        run("pinfold", 1, &[("talk.reset", 0.0)]),
        run("pinfold", 2, &[("talk.reset", 3.0)]),
        run("haproxy", 1, &[("talk.reset", 0.0)]),
    ];
    let played = Played::weigh(&scenario, runs, Vec::new());
    let found: Vec<_> = played
        .checks
        .iter()
        .map(|check| (check.balancer.as_str(), check.found, check.holds))
        .collect();
    assert_eq!(
        found,
        [("pinfold", Some(3.0), false), ("haproxy", Some(0.0), true)]
    );
    assert!(!played.holds());
}

#[test]
fn a_figure_that_was_not_measured_does_not_hold() {
    let rules = "[[expect]]\nfigure = \"talk.p50_us\"\nat_most = 10\nfor = [\"pinfold\"]\n";
    let runs = vec![run("pinfold", 1, &[]), run("nginx", 1, &[])];
    let played = Played::weigh(&scenario(rules), runs, Vec::new());
    assert_eq!(played.checks.len(), 1);
    assert_eq!(
        (played.checks[0].found, played.checks[0].holds),
        (None, false)
    );
}

#[test]
fn what_a_balancer_cannot_serve_is_not_held_against_it() {
    let rules = "[[expect]]\nfigure = \"talk.p50_us\"\nat_most = 10\n";
    let mut without = run("pinfold", 1, &[]);
    without.findings.left_out = vec!["talk: no UDP".to_owned()];
    let played = Played::weigh(&scenario(rules), vec![without], Vec::new());
    assert!(played.checks.is_empty() && played.holds());
}

#[test]
fn a_floor_and_a_ceiling_show_the_end_that_is_out_of_bounds() {
    let rules = "[[expect]]\nfigure = \"talk.moves\"\nat_most = 3\nat_least = 2\n";
    let runs = |values: [f64; 2]| {
        vec![
            run("pinfold", 1, &[("talk.moves", values[0])]),
            run("pinfold", 2, &[("talk.moves", values[1])]),
        ]
    };
    for (values, found, holds) in [
        ([2.0, 3.0], 3.0, true),
        ([1.0, 3.0], 1.0, false),
        ([2.0, 9.0], 9.0, false),
    ] {
        let check = &Played::weigh(&scenario(rules), runs(values), Vec::new()).checks[0];
        assert_eq!((check.found, check.holds), (Some(found), holds));
    }
}

#[test]
fn a_ratio_is_taken_round_by_round_against_the_better_and_its_median_counts() {
    let rules = "[[ratio]]\nfigure = \"talk.cpu_us\"\nagainst = [\"haproxy\", \"nginx\", \"direct\"]\nat_most = 0.9\n";
    let mut runs = Vec::new();
    for (round, ours, haproxy, nginx) in [
        (1, 8.0, 10.0, 20.0),
        (2, 30.0, 10.0, 20.0),
        (3, 16.0, 20.0, 20.0),
    ] {
        runs.push(run("pinfold", round, &[("talk.cpu_us", ours)]));
        runs.push(run("haproxy", round, &[("talk.cpu_us", haproxy)]));
        runs.push(run("nginx", round, &[("talk.cpu_us", nginx)]));
    }
    let played = Played::weigh(&scenario(rules), runs, Vec::new());
    let ratio = &played.ratios[0];
    assert_eq!(ratio.against, "haproxy");
    assert_eq!(ratio.rounds, [0.8, 3.0, 0.8]);
    assert_eq!(ratio.spread(), (0.8, 3.0));
    assert!(ratio.holds);
}

#[test]
fn a_ratio_of_which_one_side_was_not_run_is_a_note() {
    let rules = "[[ratio]]\nfigure = \"talk.cpu_us\"\nagainst = [\"haproxy\"]\nat_most = 0.9\n";
    let ours = run("pinfold", 1, &[("talk.cpu_us", 1.0)]);
    let alone = Played::weigh(&scenario(rules), vec![ours.clone()], Vec::new());
    assert!(alone.ratios.is_empty() && alone.notes().is_empty());
    let theirs = run("nginx", 1, &[("talk.cpu_us", 1.0)]);
    let compared = Played::weigh(&scenario(rules), vec![ours, theirs], Vec::new());
    assert!(compared.ratios.is_empty());
    let note = "the ratio of talk.cpu_us: it takes pinfold beside haproxy";
    assert_eq!(compared.notes(), [note]);
}

#[test]
fn a_failed_run_fails_the_whole() {
    let played = Played::weigh(&scenario(""), Vec::new(), vec!["nginx: gone".to_owned()]);
    assert!(!played.holds());
}

#[test]
fn a_report_survives_being_written_and_read() {
    let played = Played::weigh(
        &scenario("[[expect]]\nfigure = \"talk.reset\"\nat_most = 0\n"),
        vec![run("pinfold", 1, &[("talk.reset", 0.5)])],
        Vec::new(),
    );
    let report = Report {
        made: Made::default(),
        scenarios: vec![played],
    };
    let mut text = Vec::new();
    report.write_json(&mut text).unwrap();
    let again = Report::read_json(std::str::from_utf8(&text).unwrap()).unwrap();
    assert_eq!(again.scenarios[0].checks, report.scenarios[0].checks);
    assert_eq!(
        again.scenarios[0].runs[0].findings.figures,
        report.scenarios[0].runs[0].findings.figures
    );
}

/// What `scenario` could show at most: every figure of every load, of every balancer.
fn everything_of(scenario: &Scenario) -> Played {
    let loads = scenario.loads().map(|load| load.name().to_owned());
    let loads: Vec<_> = loads.chain([figure::BALANCER.to_owned()]).collect();
    let names = loads.iter().flat_map(|load| {
        let names = figure::FIGURES
            .iter()
            .map(move |it| format!("{load}.{}", it.name));
        names.filter(|name| figure::find(name).is_some())
    });
    let names: Vec<_> = names.collect();
    let figures: Vec<_> = names.iter().map(|name| (name.as_str(), 2_345.0)).collect();
    let balancers = ["pinfold", "haproxy", "haproxy-splice", "nginx", "direct"];
    let runs = balancers.map(|balancer| {
        let mut run = run(balancer, 1, &figures);
        run.findings.left_out = vec!["audio: it does not relay UDP at all".to_owned()];
        run.findings.events.push(crate::run::Happened {
            at: 1.0,
            to: "edge1".to_owned(),
            command: "kill".to_owned(),
        });
        run
    });
    let mut played = Played::weigh(scenario, runs.into(), vec!["word ".repeat(30)]);
    played.left_out =
        vec!["haproxy: for a reason that takes some words to tell, as they do".to_owned()];
    played
}

#[test]
fn no_shipped_scenario_is_wider_than_a_terminal() {
    let mut lines = 0;
    for (name, text) in crate::scenario::shipped() {
        let report = Report {
            made: Made::default(),
            scenarios: vec![everything_of(&Scenario::parse(name, text).unwrap())],
        };
        for detail in [Detail::Telling, Detail::All] {
            let mut out = Vec::new();
            report.write_text(&mut out, detail).unwrap();
            for line in std::str::from_utf8(&out).unwrap().lines() {
                assert!(line.chars().count() <= 80, "{name}: {line}");
                lines += 1;
            }
        }
    }
    assert!(lines > 500);
}

#[test]
fn figures_come_load_by_load_with_partners_first_and_what_matters_first() {
    let scenario = scenario(
        "[[partners]]\nname = \"a-partner\"\ngeneration = \"ocs-2007\"\npartners = 1\ninterval = \"5ms\"\n",
    );
    let figures = [
        ("balancer.processors", 1.0),
        ("a-partner.p50_us", 1.0),
        ("a-partner.moves", 1.0),
        ("talk.troubles", 0.0),
        ("talk.per_second", 1.0),
    ];
    let played = Played::weigh(&scenario, vec![run("pinfold", 1, &figures)], Vec::new());
    assert_eq!(
        played.figures(),
        [
            "a-partner.moves",
            "a-partner.p50_us",
            "talk.per_second",
            "balancer.processors"
        ]
    );
}

#[test]
fn the_middle_of_an_even_number_lies_between_two() {
    assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), Some(2.5));
    assert_eq!(median(&[5.0]), Some(5.0));
    assert_eq!(median(&[]), None);
}
