//! `pinfold probe`: every service of a node, asked once and now.

use std::process::ExitCode;

use jiff::Timestamp;

use super::failure::Failure;
use super::table::{Layout, clock, count, millis};
use super::{Show, client, output, turn};
use crate::control::admin::answers::{NodeCertificate, Probed, ProbedService};

/// Asks and shows it; exit 1 where one does not answer.
pub(super) fn probe(node: &str, pool: Option<&str>, options: &Show) -> Result<ExitCode, Failure> {
    let path = format!("/v1/nodes/{}/probe", client::escape(node));
    let json = client::get(
        &options.daemon,
        &client::with_query(&path, &[("pool", pool)]),
    )?;
    let probed: Probed = client::read(&options.daemon, &json)?;
    if options.json {
        output::print(&(json + "\n"))?;
    } else {
        let layout = Layout {
            width: output::width(),
            now: Timestamp::now(),
        };
        output::print(&render(&probed, &layout))?;
    }
    Ok(ExitCode::from(u8::from(!probed.all_answered)))
}

fn render(probed: &Probed, layout: &Layout) -> String {
    let states: Vec<_> = match probed.pools.as_slice() {
        [pool] => vec![pool.state.clone()],
        pools => pools
            .iter()
            .map(|pool| format!("{} in {}", pool.state, pool.name))
            .collect(),
    };
    let mut text = format!(
        "{}   {}   asked {}\n\n",
        probed.node,
        states.join(", "),
        clock(probed.at)
    );
    let rows = probed.services.iter().map(row).collect();
    text += &layout.table(&["LISTENERS", "ADDRESS", "PROBE", "RESULT", "TLS"], rows);
    text += &certificates(probed, layout);
    text.push('\n');
    for service in &probed.services {
        if let Some(advice) = advice(service) {
            text += &layout.wrapped("", &format!("{}: {advice}", service.listeners.join(" ")));
        }
        let listeners = service.listeners.join(" ");
        let said = service.turn.as_ref();
        if let Some(note) = said.and_then(|said| turn::advice(&probed.node, &listeners, said)) {
            text += &layout.wrapped("", &note);
        }
        if let Some(fault) = &service.tls_fault {
            let note = format!(
                "{listeners}: TLS with it fails: {}; {}",
                fault.says, fault.remedy
            );
            text += &layout.wrapped("", &note);
        }
    }
    text += &layout.wrapped("", &summary(probed));
    text
}

fn row(service: &ProbedService) -> Vec<String> {
    vec![
        service.listeners.join(" "),
        service.address.clone(),
        service.probe.clone(),
        result(service),
        service.tls.clone().unwrap_or_else(|| "-".into()),
    ]
}

fn result(service: &ProbedService) -> String {
    match (service.result.as_str(), service.millis) {
        ("answered", Some(after)) => format!("answered in {}", short(after)),
        ("timed-out", Some(after)) => format!("LATE: {}", short(after)),
        ("timed-out", None) => "TIMED OUT".into(),
        ("wrong-answer", _) => "WRONG ANSWER".into(),
        ("not-asked", _) => "not asked".into(),
        (other, _) => other.to_uppercase(),
    }
}

/// On a good network answers take less than a millisecond.
fn short(after: f64) -> String {
    if after < 10.0 {
        format!("{after:.1} ms")
    } else {
        millis(after)
    }
}

/// Each certificate once, with the listeners that show it.
fn certificates(probed: &Probed, layout: &Layout) -> String {
    let mut shown: Vec<(&NodeCertificate, Vec<&str>)> = Vec::new();
    for service in &probed.services {
        let Some(certificate) = &service.certificate else {
            continue;
        };
        let listeners = service.listeners.iter().map(String::as_str);
        let is_it = |(known, _): &&mut (&NodeCertificate, Vec<&str>)| {
            (&known.key, known.not_after, known.same)
                == (&certificate.key, certificate.not_after, certificate.same)
        };
        match shown.iter_mut().find(is_it) {
            Some((_, on)) => on.extend(listeners),
            None => shown.push((certificate, listeners.collect())),
        }
    }
    if shown.is_empty() {
        return String::new();
    }
    let rows = shown.into_iter().map(|(certificate, on)| {
        vec![
            certificate.name.clone(),
            left(certificate, layout.now),
            on.join(" "),
            if certificate.same { "yes" } else { "NO" }.into(),
        ]
    });
    let headings = ["CERTIFICATE", "LEFT", "SHOWN ON", "AS OTHER NODES"];
    format!("\n{}", layout.table(&headings, rows.collect()))
}

fn left(certificate: &NodeCertificate, now: Timestamp) -> String {
    let Some(end) = certificate.not_after else {
        return "-".into();
    };
    let days = (end.as_second() - now.as_second()).div_euclid(24 * 3600);
    match days {
        ..0 => "EXPIRED".into(),
        0..=30 => format!("{}!", count(days.unsigned_abs(), "day")),
        _ => count(days.unsigned_abs(), "day"),
    }
}

/// What is likely, and where to look.
fn advice(service: &ProbedService) -> Option<String> {
    let (address, error) = (
        &service.address,
        service.error.as_deref().unwrap_or("no reason"),
    );
    let waited = millis(service.timeout_ms);
    Some(match (service.result.as_str(), service.millis) {
        ("answered" | "not-asked", _) => return None,
        ("refused", _) => {
            format!("nothing listens on {address}. Is the service started? Or a firewall refuses")
        }
        ("reset", _) => format!("{address} takes the connection and resets it: see its event log"),
        ("unreachable", _) => {
            format!(
                "there is no way to {address} ({error}): see cables, routes, the machine itself"
            )
        }
        ("timed-out", Some(_)) => {
            format!("it answers after more than {waited}, probe.timeout: starting, or overloaded")
        }
        ("timed-out", None) if service.probe == "turn-allocate" => format!(
            "nothing answers an Allocate within {waited}: frozen, switched off, a firewall drops, or {address} is another service's"
        ),
        ("timed-out", None) => format!(
            "nothing within {waited}: frozen, switched off, or a firewall drops. See the machine's console"
        ),
        ("wrong-answer", _) => {
            format!("something else than the service answers on {address}: see what listens there")
        }
        _ => format!("could not be asked from here: {error}"),
    })
}

/// The verdict, and what comes next.
fn summary(probed: &Probed) -> String {
    let asked = probed.services.iter();
    let asked = asked.filter(|each| each.result != "not-asked").count();
    let good = probed.services.iter();
    let good = good.filter(|each| each.result == "answered").count();
    let waits = probed.pools.iter().any(|pool| pool.state != "active");
    let node = &probed.node;
    match (probed.all_answered, waits) {
        (true, true) => format!("ALL ANSWER: {good} of {asked}. → pinfold resume {node}"),
        (true, false) => format!("ALL ANSWER: {good} of {asked}"),
        (false, _) if asked == 0 => {
            "NOTHING WAS ASKED: probe.kind is \"none\" on each of its listeners".into()
        }
        (false, _) => format!("NOT ALL ANSWER: {good} of {asked}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::admin::answers::NodeTurn;

    #[test]
    fn the_screen_of_the_patch_night_fits_80_columns_and_says_what_to_do() {
        let text = r#"{"node":"edge1","at":"2026-12-08T20:15:02Z","all_answered":false,
        "pools":[{"name":"edge","state":"draining"}],"services":[
        {"pools":["edge"],"listeners":["federation"],"address":"198.51.100.11:5061",
         "probe":"tls-hello","result":"answered","millis":3.1,"timeout_ms":250.0,"error":null,
         "tls":"1.2","certificate":{"name":"sip.contoso.com","names":["sip.contoso.com"],
         "not_before":null,"not_after":"2027-02-11T00:00:00Z","client":true,"server":true,
         "key":"ab","same":true}},
        {"pools":["edge"],"listeners":["internal-sip","internal-mras"],
         "address":"[2001:db8:10:20:30::11]:5061","probe":"tls-hello","result":"timed-out",
         "millis":null,"timeout_ms":1000.0,"error":null,"tls":null,"certificate":null},
        {"pools":["edge"],"listeners":["webconf"],"address":"198.51.100.21:443","probe":"tcp",
         "result":"refused","millis":0.2,"timeout_ms":1000.0,"error":"connection refused",
         "tls":null,"certificate":null}]}"#;
        let mut probed: Probed = serde_json::from_str(text).unwrap();
        let layout = Layout {
            width: Some(80),
            now: probed.at,
        };
        let text = render(&probed, &layout);
        for expected in [
            "edge1   draining   asked 2026-12-08 20:15:02Z",
            "answered in 3.1 ms",
            "TIMED OUT",
            "REFUSED",
            "64 days",
            "webconf: nothing listens on 198.51.100.21:443.",
            "NOT ALL ANSWER: 1 of 3\n",
        ] {
            assert!(text.contains(expected), "no {expected} in\n{text}");
        }
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
        probed.services[0].turn = Some(NodeTurn {
            code: Some(401),
            alternate_server: Some("10.0.0.31:3478".into()),
            configured: "198.51.100.31:3478".into(),
            fault: Some("elsewhere".into()),
        });
        let text = render(&probed, &layout);
        let note = "edge1 sends clients of federation to 10.0.0.31:3478, and its address is\n";
        assert!(text.contains(note), "{text}");
        probed.services.truncate(1);
        probed.all_answered = true;
        let text = render(&probed, &layout);
        assert!(text.ends_with("ALL ANSWER: 1 of 1. → pinfold resume edge1\n"));
    }
}
