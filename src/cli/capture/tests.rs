//! The line is narrow where it can be, bounded always, and `tcpdump` takes it.

use std::process::Command;

use super::*;

fn explanation(subject: &str, comes_from: &[String]) -> Explanation {
    let comes_from = serde_json::to_string(comes_from).unwrap();
    let candidate = |name, addresses| {
        format!(
            r#"{{"node":"{name}","standing":"takes","since":null,"evidence":null,"weight":1,
            "warmth":100,"sessions":0,"legacy":0,"full":false,"addresses":[{addresses}]}}"#
        )
    };
    let candidates = [
        candidate("edge1", r#""198.51.100.11:5061""#),
        candidate("edge2", r#""198.51.100.12:5061","[2001:db8::12]:5061""#),
        candidate("edge3", r#""198.51.100.13:5061""#),
    ];
    let text = format!(
        r#"{{"subject":"{subject}","is_address":false,"partner":null,"known_by":[],
        "comes_from":{comes_from},"places":[{{"listeners":["federation"],
        "bound":["203.0.113.10:5061","[2001:db8::10]:5061"],"pool":"edge","affinity":"federation",
        "access":"granted","rule":"","subject":"fabrikam","pin":null,"node":"edge2","why":"placed",
        "steps":[],"candidates":[{}],"sessions":[{{"node":"edge1","sessions":2,"served":2,
        "last_byte":null}}],"back":null}}],"cut_off":null,
        "attempts":{{"since":null,"is_full":false,"good":0,"bad":0,"empty":0,"last_at":null,
        "troubles":[]}},"verdict":{{"verdict":"neither","node":null,"evidence":""}},"next":[]}}"#,
        candidates.join(",")
    );
    serde_json::from_str(&text).unwrap()
}

fn screen(explanation: &Explanation) -> String {
    let layout = Layout {
        width: Some(80),
        now: jiff::Timestamp::UNIX_EPOCH,
    };
    render(explanation, 5, &layout)
}

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

#[test]
fn both_legs_are_caught_and_nodes_that_it_has_nothing_to_do_with_are_not() {
    let networks = strings(&[
        "192.0.2.0/28",
        "192.0.2.77",
        "2001:db8:7::/48",
        "192.0.2.9/32",
    ]);
    let text = screen(&explanation("fabrikam", &networks));
    let line = text.lines().last().unwrap();
    assert_eq!(
        line,
        "timeout 300 tcpdump -i any -nn -s 0 -Z root -w fabrikam.pcap \
         '(((host 2001:db8::10 and tcp port 5061) or (host 203.0.113.10 and tcp port 5061)) and \
         (host 192.0.2.77 or host 192.0.2.9 or net 192.0.2.0/28 or net 2001:db8:7::/48)) or \
         (((host 198.51.100.11 and tcp port 5061) or (host 198.51.100.12 and tcp port 5061) or \
         (host 2001:db8::12 and tcp port 5061)))'"
    );
    let (comments, _) = text.trim_end().rsplit_once('\n').unwrap();
    for line in comments.lines() {
        assert!(
            line.starts_with("# ") && line.chars().count() <= 80,
            "{text}"
        );
    }
    assert!(comments.contains("As root, here."), "{text}");
    assert!(comments.contains("edge1, edge2;"), "{text}");
}

#[test]
fn a_cloud_and_somebody_unknown_are_caught_by_the_port_and_it_is_said() {
    let many: Vec<_> = (0..=255).map(|number| format!("10.0.0.{number}")).collect();
    for (sources, says) in [
        (&many[..], "too many for a filter"),
        (&[], "nobody knows where"),
    ] {
        let explanation = explanation("teams", sources);
        let filter = Filter::of(&explanation);
        assert!(!filter.expression.contains("10.0.0."), "{filter:?}");
        assert!(filter.expression.contains("203.0.113.10 and tcp port 5061"));
        assert!(filter.client_words.contains(says), "{filter:?}");
    }
    let mut wide = explanation("teams", &[]);
    wide.places[0].bound = (0..=255)
        .map(|number| format!("10.1.0.{number}:443"))
        .collect();
    let filter = Filter::of(&wide);
    assert!(
        filter.expression.starts_with("(tcp port 443) or ("),
        "{filter:?}"
    );
}

#[test]
fn what_the_daemon_says_cannot_break_out_of_the_line() {
    let evil = strings(&["192.0.2.1' ; reboot '", "0.0.0.0/0 or", "192.0.2.1/999"]);
    let text = screen(&explanation("a'; reboot #/../x", &evil));
    let line = text.lines().last().unwrap();
    assert!(line.contains("-w a___reboot___.._x.pcap '"), "{line}");
    assert_eq!(line.matches('\'').count(), 2, "{line}");
    assert!(!line.contains("reboot '"), "{line}");
    assert_eq!(file_name("--"), "capture.pcap");
    assert_eq!(file_name("2001:db8::1"), "2001_db8__1.pcap");
}

#[test]
fn nothing_to_listen_on_is_said_instead_of_catching_everything() {
    let mut idle = explanation("fabrikam", &[]);
    idle.places.clear();
    assert!(!screen(&idle).contains("tcpdump"));
}

/// `tcpdump` compiles each shape of expression, for a link type of a file, which needs no privilege.
#[test]
fn tcpdump_takes_the_expression() {
    let program = std::env::var_os("PINFOLD_TCPDUMP").unwrap_or_else(|| "tcpdump".into());
    if Command::new(&program).arg("--version").output().is_err() {
        eprintln!("tcpdump_takes_the_expression: not tried, tcpdump is not installed");
        return;
    }
    let scratch = crate::store::random_key().unwrap();
    let file = std::env::temp_dir().join(format!("pinfold-capture-{scratch}.pcap"));
    // Version 2.4, 256 KiB, Linux cooked (113): what `-i any` gives.
    let header = [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 0x4_0000, 113];
    std::fs::write(&file, header.map(u32::to_ne_bytes).concat()).unwrap();
    let many: Vec<_> = (0..100)
        .map(|number| format!("2001:db8:{number}::/48"))
        .collect();
    let some = strings(&[
        "192.0.2.0/28",
        "192.0.2.77",
        "0.0.0.0/0",
        "2001:db8::/32",
        "::1",
    ]);
    for sources in [&some[..], &many[..], &[]] {
        let filter = Filter::of(&explanation("fabrikam", sources));
        let mut command = Command::new(&program);
        command
            .arg("-d")
            .arg("-r")
            .arg(&file)
            .arg(&filter.expression);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{filter:?}\n{output:?}");
    }
    std::fs::remove_file(file).unwrap();
}
