use std::process::Command;

use super::*;

fn balancer() -> Balancer {
    let text = r#"
title = "t"
about = "a"
[run]
warm_up = "1s"
measure = "1s"
[[balancer.listeners]]
name = "federation"
[[balancer.listeners]]
name = "other"
service = "tcp"
max_sessions = 100
terminate = { key = "rsa-2048" }
[[idle]]
name = "idle"
sessions = 1
"#;
    crate::scenario::Scenario::parse("t", text)
        .unwrap()
        .balancer
}

/// Writes the configuration of `kind` and lets `check` judge it.
fn is_accepted(kind: Kind, check: impl FnOnce(&mut Command, &Directory)) {
    let Ok(program) = kind.find() else {
        // Without the program there is nothing to hold; CI installs every one of them.
        assert!(std::env::var_os("CI").is_none(), "{kind} is not installed");
        return;
    };
    let (balancer, directory) = (balancer(), Directory::create().unwrap());
    let nodes = [("edge1", 15_061), ("edge2", 15_062)].map(|(name, port)| {
        (
            name.to_owned(),
            SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        )
    });
    let partners = [PartnerAddress {
        name: "fabrikam".to_owned(),
        address: Ipv4Addr::new(127, 200, 1, 1).into(),
        generation: Generation::Ocs2007,
    }];
    let description = Description {
        balancer: &balancer,
        nodes: &nodes,
        partners: &partners,
        descriptors: 20_000,
    };
    let targets = ["federation", "other"].map(|listener| Target {
        listener: listener.to_owned(),
        addresses: vec![SocketAddr::from((
            Ipv4Addr::LOCALHOST,
            free_ports(1).unwrap()[0],
        ))],
    });
    certificates::write(&directory, &balancer).unwrap();
    let text = configuration(kind, &description, &targets, &directory, 0);
    fs::write(directory.file(CONFIGURATION), &text).unwrap();
    let mut command = Command::new(program);
    check(&mut command, &directory);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{text}\n{output:?}");
}

#[test]
fn haproxy_accepts_what_it_is_told() {
    for kind in [Kind::Haproxy, Kind::HaproxySplice, Kind::HaproxyTuned] {
        is_accepted(kind, |command, directory| {
            command
                .args(["-c", "-f"])
                .arg(directory.file(CONFIGURATION));
        });
    }
}

#[test]
fn nginx_accepts_what_it_is_told() {
    is_accepted(Kind::Nginx, |command, directory| {
        nginx::arguments(command, directory);
        command.arg("-t");
    });
}

#[test]
fn a_program_that_ends_at_once_is_told_with_what_it_said() {
    let balancer = balancer();
    let description = Description {
        balancer: &balancer,
        nodes: &[],
        partners: &[],
        descriptors: 20_000,
    };
    let program = Path::new("/bin/ls");
    let error = Peer::start(Kind::Nginx, program, &description).unwrap_err();
    assert!(error.to_string().contains("nginx did not start"), "{error}");
}

#[test]
fn nobody_of_a_balancer_outlives_it() {
    let balancer = balancer();
    let description = Description {
        balancer: &balancer,
        nodes: &[(
            "edge1".to_owned(),
            SocketAddr::from((Ipv4Addr::LOCALHOST, 9)),
        )],
        partners: &[],
        descriptors: 20_000,
    };
    for kind in [Kind::Haproxy, Kind::Nginx] {
        let Ok(program) = kind.find() else {
            assert!(std::env::var_os("CI").is_none(), "{kind} is not installed");
            continue;
        };
        let peer = Peer::start(kind, &program, &description).unwrap();
        let addresses: Vec<_> = peer.targets()[0].addresses.clone();
        let ports: Vec<_> = addresses.iter().map(SocketAddr::port).collect();
        drop(peer);
        let gone = wait_until(START_LIMIT, || (!all_listening(&ports)).then_some(()));
        assert!(gone.is_some(), "{kind} still listens on {ports:?}");
    }
}

#[test]
fn whoever_is_missing_is_named_with_a_remedy() {
    for kind in [Kind::Pinfold, Kind::Haproxy, Kind::Nginx] {
        if let Err(error) = kind.find() {
            assert!(error.to_string().contains(kind.program()), "{error}");
        }
    }
}
