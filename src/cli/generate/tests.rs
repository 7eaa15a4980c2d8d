use super::*;
use crate::config::schema;

/// What a reader sees of a page, more or less: without macros and escapes, each line as it is in the source.
fn plain(page: &str) -> String {
    let escapes = [
        (r"\-", "-"),
        (r"\fB", ""),
        (r"\fI", ""),
        (r"\fR", ""),
        (r"\*(Aq", "'"),
        (r"\&", ""),
    ];
    let unescape = |text: String, (from, to): &(&str, &str)| text.replace(from, to);
    escapes.iter().fold(page.to_owned(), unescape)
}

fn file(name: &str) -> String {
    let mut files = files("").into_iter();
    let (_, text) = files.find(|(known, _)| *known == name).unwrap();
    plain(&text)
}

/// Every subcommand and each of its options, as `pinfold pins export`, `--admin`.
fn grammar(command: &clap::Command, name: &str, found: &mut Vec<(String, Vec<String>)>) {
    for subcommand in command.get_subcommands() {
        if subcommand.is_hide_set() || subcommand.get_name() == "help" {
            continue;
        }
        let name = format!("{name} {}", subcommand.get_name());
        let words = subcommand.get_arguments().map(|arg| match arg.get_long() {
            Some(long) => format!("--{long}"),
            None => arg.get_value_names().unwrap().join(" "),
        });
        let words = words.filter(|word| !["--help", "--version"].contains(&word.as_str()));
        found.push((name.clone(), words.collect()));
        grammar(subcommand, &name, found);
    }
}

#[test]
fn every_subcommand_and_every_option_stands_in_the_page_of_its_program() {
    for (page, program, mut command, least) in [
        ("pinfold.8", "pinfold", Arguments::command(), 20),
        (
            "pinfold-loadtest.1",
            "pinfold-loadtest",
            pinfold_loadtest::cli::command(),
            5,
        ),
    ] {
        command.build();
        let page = file(page);
        let mut found = Vec::new();
        grammar(&command, program, &mut found);
        assert!(found.len() >= least, "{found:?}");
        for (name, words) in found {
            let heading = format!(".SS \"{name}\"\n");
            let section = page.split(&heading).nth(1);
            let section = section.unwrap_or_else(|| panic!("{heading}"));
            let section = section.split("\n.S").next().unwrap();
            for word in words {
                assert!(section.contains(&word), "{name} {word}: {section}");
            }
        }
    }
}

#[test]
fn every_key_stands_in_the_page_of_the_configuration() {
    let page = file("pinfold.toml.5");
    let mut keys = 0;
    for (section, known) in schema::keys() {
        for key in known {
            let is_table = |inner: &schema::Section| {
                inner.parent() == Some(*section)
                    && inner.header().trim_matches(['[', ']']).rsplit('.').next() == Some(*key)
            };
            let is_table = schema::Section::ALL.iter().any(is_table);
            let stands = match is_table {
                true => page.contains(&format!("{key}]")) || page.contains(&format!("{key} = ")),
                false => {
                    page.contains(&format!("\n{key} = ")) || page.contains(&format!(" {key} = "))
                }
            };
            assert!(stands, "{section:?} {key}");
            keys += 1;
        }
    }
    assert!(keys > 100, "{keys}");
}

#[test]
fn every_exit_code_of_the_operations_stands_in_the_page() {
    let operations = include_str!("../../../docs/OPERATIONS.md");
    let codes = operations.split("Exit codes: ").nth(1).unwrap();
    let codes = codes.split("\n\n").next().unwrap().split(" · ");
    let codes: Vec<_> = codes
        .filter_map(|code| code.split_whitespace().next())
        .collect();
    assert!(codes.len() > 5, "{codes:?}");
    let page = file("pinfold.8");
    let section = page.split(".SH \"EXIT STATUS\"").nth(1).unwrap();
    let section = section.split("\n.SH").next().unwrap();
    for code in codes {
        assert!(section.contains(&format!(".TP\n{code}\n")), "{code}");
    }
}

#[test]
fn what_is_hidden_is_neither_described_nor_completed() {
    for (name, text) in files("") {
        assert!(!plain(&text).contains("generate"), "{name}");
    }
    for name in ["pinfold.bash", "_pinfold", "pinfold.fish"] {
        assert!(file(name).contains("vrrp-check"), "{name}");
    }
}

#[test]
fn a_page_has_the_date_it_is_given_or_none() {
    let head = |date| {
        let pages = files(date).into_iter().take(3);
        pages
            .map(|(_, text)| text.lines().nth(2).unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert!(
        head("2026-12-08")
            .iter()
            .all(|line| line.contains(" 2026-12-08 \"pinfold "))
    );
    assert!(
        head("")
            .iter()
            .all(|line| line.contains(" \" \" \"pinfold "))
    );
}
