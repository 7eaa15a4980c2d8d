//! A service in its sandbox: every thread is in it, each measure can be left out, and reloads get what they need or are
//! told why not. What is forbidden is tried in `tests/confine.rs`; the other tests here run in it, too.

use std::env;
use std::fs;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::{chown, symlink};
use std::path::Path;

use pinfold_loadtest::process::{Signal, wait_until};
use serde_json::json;

use crate::laboratory::laboratory;
use crate::names::server::Server;
use crate::terminated::{issue, terminating};
use crate::world::{Caller, Directory, FABRIKAM, Pinfold, SOON, World};

const ALL: [&str; 4] = [
    "capabilities",
    "no-new-privileges",
    "landlock",
    "system-calls",
];

/// `CAP_NET_BIND_SERVICE` and `CAP_NET_RAW`, as `/proc` shows sets.
const BIND: u64 = 1 << 10;
const RAW: u64 = 1 << 13;

impl Pinfold {
    /// The status of each thread, by its name.
    fn threads(&self) -> Vec<(String, String)> {
        let tasks = format!("/proc/{}/task", self.process.pid());
        let tasks = fs::read_dir(tasks).unwrap();
        let statuses = tasks.map(|task| fs::read_to_string(task.unwrap().path().join("status")));
        let named = |status: String| (field(&status, "Name"), status);
        statuses.map(|status| named(status.unwrap())).collect()
    }
}

fn field(status: &str, name: &str) -> String {
    let mut lines = status.lines();
    let line = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
    line.unwrap_or_else(|| panic!("no {name}: {status}"))
        .to_owned()
}

fn set(status: &str, name: &str) -> u64 {
    u64::from_str_radix(&field(status, name), 16).unwrap()
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether this test, which is about what root has, can run. CI has root.
fn has_root() -> bool {
    assert!(
        is_root() || env::var_os("CI").is_none(),
        "this test needs root"
    );
    if !is_root() {
        let _ = writeln!(io::stderr(), "SKIPPED: not root");
    }
    is_root()
}

/// Checks that each thread of a service is in a sandbox of these measures, and in no other.
fn check(pinfold: &Pinfold, measures: &[&str], kept: u64) {
    let threads = pinfold.threads();
    for name in [
        "pinfold",
        "governor",
        "worker-0",
        "store",
        "store-sync",
        "store-disk",
    ] {
        assert!(
            threads.iter().any(|(known, _)| known == name),
            "{name}: {threads:?}"
        );
    }
    for (name, status) in threads {
        let is_in = |measure| measures.contains(&measure);
        let flag = |measure| u32::from(is_in(measure)).to_string();
        assert_eq!(
            field(&status, "NoNewPrivs"),
            flag("no-new-privileges"),
            "{name}"
        );
        let mode = if is_in("system-calls") { "2" } else { "0" };
        assert_eq!(field(&status, "Seccomp"), mode, "{name}");
        assert_eq!(
            field(&status, "Seccomp_filters"),
            flag("system-calls"),
            "{name}"
        );
        if is_in("capabilities") {
            let rest = if is_root() { kept } else { 0 };
            for capabilities in ["CapEff", "CapPrm"] {
                assert_eq!(set(&status, capabilities), rest, "{name}: {capabilities}");
            }
            for none in ["CapInh", "CapAmb"] {
                assert_eq!(set(&status, none), 0, "{name}: {none}");
            }
            // Only root may make it smaller.
            assert!(
                !is_root() || set(&status, "CapBnd") == kept,
                "{name}: {status}"
            );
        } else if is_root() {
            assert_ne!(
                set(&status, "CapEff") & !(BIND | RAW),
                0,
                "{name}: nothing to lose"
            );
        }
    }
    assert_eq!(pinfold.json("/v1/status")["sandbox"], json!(measures));
}

#[test]
fn every_thread_is_in_the_sandbox_and_the_status_says_so() {
    let world = World::start(2);
    check(&world.pinfold, &ALL, BIND);
    // A thread that is started for one question.
    let asked = world.pinfold.get("/v1/nodes/edge1/probe").unwrap();
    assert_eq!(asked.status, 200, "{}", asked.body);
    let status = world.pinfold(&["status"]);
    let shown = String::from_utf8(status.stdout).unwrap();
    let line = format!("SANDBOX {}", ALL.join(", "));
    assert!(shown.lines().any(|shown| shown == line), "{shown}");
    let log = world.pinfold.process.output();
    assert!(
        log.contains("sandbox: in force: capabilities, no-new"),
        "{log}"
    );
    assert!(!log.contains("not in force"), "{log}");
}

#[test]
fn each_measure_can_be_left_out_and_takes_a_restart_to_change() {
    let without = |left_out: &str| -> Vec<&str> {
        let all = ALL.into_iter();
        all.filter(|measure| *measure != left_out).collect()
    };
    let mut cases = vec![Vec::new(), vec!["capabilities"]];
    cases.extend(["capabilities", "landlock", "system-calls"].map(without));
    let mut world = World::start(1);
    for measures in cases {
        let before = world.pinfold.json("/v1/status")["sandbox"].clone();
        world.rewrite(|setup| setup.server = format!("sandbox = {measures:?}"));
        let reload = world.pinfold.post("/v1/reload").unwrap().json().unwrap();
        assert_eq!(reload["restart_needed"], json!(["sandbox"]));
        assert_eq!(world.pinfold.json("/v1/status")["sandbox"], before);
        world.restart();
        check(&world.pinfold, &measures, BIND);
        Caller::served(world.address(), FABRIKAM).unwrap();
    }
    world.rewrite(|setup| setup.server = "sandbox = false".into());
    world.restart();
    check(&world.pinfold, &[], BIND);
}

/// Puts a file in place as editors do.
fn save(file: &Path, text: &str) {
    let beside = file.with_extension("saved");
    fs::write(&beside, text).unwrap();
    fs::rename(beside, file).unwrap();
}

fn partner(name: &str) -> String {
    format!("[[partner]]\nname = \"{name}\"\naddresses = [\"192.0.2.77\"]\n")
}

impl World {
    /// Writes the configuration with an `include` at its top.
    fn write_including(&self, pattern: &str) {
        let text = self.setup.text(&self.directory);
        let include = format!("version = 1\ninclude = [\"{pattern}\"]");
        let text = text.replacen("version = 1", &include, 1);
        save(&self.directory.config(), &text);
    }

    /// How a reload went.
    fn reload(&self) -> (u16, String) {
        let answer = self.pinfold.post("/v1/reload").unwrap();
        (answer.status, answer.body)
    }

    fn partners(&self) -> u64 {
        let status = self.pinfold.json("/v1/status");
        status["partners"]["configured"].as_u64().unwrap()
    }
}

#[test]
fn a_reload_reads_files_that_were_replaced_or_added_where_the_configuration_looks() {
    let elsewhere = Directory::create();
    issue(elsewhere.path(), "server", &["server.test"]);
    let more = terminating(elsewhere.path(), "server");
    let mut world = World::start_with(1, |setup| {
        setup.listeners[0].service = "tcp".into();
        setup.listeners[0].more = more;
    });
    let folder = world.directory.path().join("partners.d");
    fs::create_dir(&folder).unwrap();
    world.write_including("partners.d/*.toml");
    world.restart();
    assert_eq!(world.partners(), 1);

    save(&folder.join("adatum.toml"), &partner("adatum"));
    assert_eq!(world.reload().0, 200, "{}", world.pinfold.process.output());
    assert_eq!(world.partners(), 2);
    save(&folder.join("adatum.toml"), &partner("woodgrove"));
    assert_eq!(world.reload().0, 200);
    assert!(
        world
            .pinfold
            .json("/v1/partners")
            .to_string()
            .contains("woodgrove")
    );

    // A link leads elsewhere, and there is the file that a script replaces.
    let generated = Directory::create();
    let list = generated.path().join("list.toml");
    save(&list, &partner("contoso"));
    fs::remove_file(folder.join("adatum.toml")).unwrap();
    symlink(&list, folder.join("list.toml")).unwrap();
    world.restart();
    save(&list, &partner("litware"));
    assert_eq!(world.reload().0, 200, "{}", world.pinfold.process.output());
    let partners = world.pinfold.json("/v1/partners").to_string();
    assert!(partners.contains("litware"), "{partners}");

    issue(elsewhere.path(), "renewed", &["renewed.test"]);
    for kind in ["pem", "key"] {
        let file = |name: &str| elsewhere.path().join(format!("{name}.{kind}"));
        fs::rename(file("renewed"), file("server")).unwrap();
    }
    let (status, body) = world.reload();
    assert_eq!(status, 200, "{body}");
    let metrics = world.pinfold.get("/metrics").unwrap().body;
    assert!(
        metrics.contains("certificate=\"renewed.test\""),
        "{metrics}"
    );
}

#[test]
fn a_reload_that_needs_a_file_out_of_reach_says_why_and_a_restart_allows_it() {
    let elsewhere = Directory::create();
    fs::write(elsewhere.path().join("adatum.toml"), partner("adatum")).unwrap();
    issue(elsewhere.path(), "server", &["server.test"]);
    let mut world = World::start(1);
    let before = world.pinfold.revision();
    let folder = elsewhere.path().display();
    for pattern in [format!("{folder}/adatum.toml"), format!("{folder}/*.toml")] {
        world.write_including(&pattern);
        let (status, body) = world.reload();
        assert_ne!(status, 200, "{body}");
        let failure = world.pinfold.json("/v1/status")["last_reload_failure"].to_string();
        assert!(failure.contains("pinfold.toml:2:"), "{failure}");
        assert!(failure.contains("sandbox is why"), "{pattern}: {failure}");
    }
    world.setup.listeners[0].service = "tcp".into();
    world.setup.listeners[0].more = terminating(elsewhere.path(), "server");
    world.directory.write(&world.setup);
    assert_ne!(world.reload().0, 200);
    let failure = world.pinfold.json("/v1/status")["last_reload_failure"].to_string();
    assert!(failure.contains("sandbox is why"), "{failure}");
    assert_eq!(world.pinfold.revision(), before);

    world.write_including(&format!("{folder}/*.toml"));
    world.restart();
    assert_eq!(world.partners(), 2);
    assert_eq!(world.reload().0, 200);
}

#[test]
fn the_first_transparent_listener_is_refused_to_a_reload_before_anything_changes() {
    let mut world = World::start(1);
    let before = world.pinfold.json("/v1/status")["listeners"].clone();
    world.rewrite(|setup| {
        setup.change_harmlessly();
        setup.listener("audio", "udp", "127.0.0.1:0");
        setup.listeners[1].more = "node_port = 9\nsource = \"transparent\"".into();
    });
    let plan = world.pinfold.post("/v1/reload?plan=true").unwrap();
    assert_ne!(plan.status, 200, "a plan tells it, too: {}", plan.body);
    let (status, body) = world.reload();
    assert_ne!(status, 200, "{body}");
    for word in ["audio", "transparent", "sandbox", "restart pinfold"] {
        assert!(body.contains(word), "{word}: {body}");
    }
    assert_eq!(world.pinfold.json("/v1/status")["listeners"], before);
    Caller::served(world.address(), FABRIKAM).unwrap();
    world.restart();
    check(&world.pinfold, &ALL, BIND | RAW);
    assert_eq!(
        world.pinfold.json("/v1/status")["listeners"][1]["name"],
        "audio"
    );
}

#[test]
fn a_reload_may_listen_on_a_port_below_1024() {
    laboratory(|laboratory| {
        let directory = Directory::create();
        let text = |port: u16| {
            format!(
                "version = 1\n[server]\nworkers = 1\nadmin = \"unix:{}\"\n[[pool]]\nname = \"edge\"\n\
                 [[pool.node]]\nname = \"edge1\"\naddress = \"203.0.113.11\"\n[[listener]]\n\
                 name = \"federation\"\nbind = \"198.51.100.10:{port}\"\npool = \"edge\"\n",
                directory.admin().display()
            )
        };
        directory.write_text(&text(5061));
        let mut pinfold = laboratory.pinfold(&directory);
        let serves = pinfold
            .process
            .wait_line(SOON, |line| line.contains("serving"));
        assert!(serves.is_some(), "{}", pinfold.process.output());
        let listens = |port: u16| {
            let connects = || TcpStream::connect(("198.51.100.10", port)).ok();
            laboratory
                .within("client", || wait_until(SOON, connects))
                .is_some()
        };
        assert!(listens(5061), "{}", pinfold.process.output());
        directory.write_text(&text(443));
        pinfold.process.signal(Signal::HUP).unwrap();
        assert!(listens(443), "{}", pinfold.process.output());
        assert_eq!(pinfold.json("/v1/status")["sandbox"], json!(ALL));
    });
}

#[test]
fn a_state_directory_that_is_another_one_by_now_takes_a_restart() {
    let mut world = World::start(2);
    let state = world.directory.state();
    let gone = wait_until(SOON, || fs::remove_dir_all(&state).ok());
    gone.expect("it can be removed");
    let pin = |world: &World| {
        let wish = json!({ "node": "edge2" });
        world
            .pinfold
            .send("PUT", "/v1/pins/fabrikam", &wish)
            .unwrap()
    };
    let answer = pin(&world);
    assert_eq!(answer.status, 500, "{}", answer.body);
    assert!(answer.body.contains("NOT durable"), "{}", answer.body);
    let told = || {
        let attention = world.pinfold.json("/v1/status")["attention"].to_string();
        let is_told = attention.contains("NOT KEPT") && attention.contains("sandbox is why");
        is_told.then_some(())
    };
    assert!(wait_until(SOON, told).is_some(), "it is gone");
    fs::create_dir(&state).unwrap();
    let answer = pin(&world);
    assert_eq!(answer.status, 500, "{}", answer.body);
    assert!(wait_until(SOON, told).is_some(), "it is another one");
    world.restart();
    assert_eq!(pin(&world).status, 200);
    world.restart();
    assert_eq!(world.pinfold.pin("fabrikam").as_deref(), Some("edge2"));
}

#[test]
fn where_the_systems_list_of_dns_servers_is_replaced_those_known_are_asked_on() {
    laboratory(|laboratory| {
        laboratory.must("appliance", "mount -t tmpfs tmpfs /etc");
        let servers = Path::new("/etc/resolv.conf");
        save(servers, "nameserver 127.0.0.1\n");
        let known = |server: &mut Server, last: u8| {
            let address = Ipv4Addr::new(192, 0, 2, last);
            laboratory.within("appliance", || server.host("sip.fabrikam.test", &[address]));
            address.to_string()
        };
        let start = || Server::start_at(([127, 0, 0, 1], 53).into());
        let mut server = laboratory.within("appliance", start);
        let first = known(&mut server, 40);
        let directory = Directory::create();
        let write = |contact: &str| {
            directory.write_text(&format!(
                "version = 1\n[server]\nworkers = 1\nadmin = \"unix:{}\"\n[[pool]]\nname = \"edge\"\n\
                 [[pool.node]]\nname = \"edge1\"\naddress = \"203.0.113.11\"\n[[listener]]\n\
                 name = \"federation\"\nbind = \"198.51.100.10:5061\"\npool = \"edge\"\n[[partner]]\n\
                 name = \"fabrikam\"\nedge = [\"sip.fabrikam.test\"]\ncontact = \"{contact}\"\n",
                directory.admin().display()
            ));
        };
        write("first");
        let pinfold = laboratory.pinfold(&directory);
        let knows = |address: &str| {
            let is_known = || {
                // It asks again.
                let _ = pinfold.post("/v1/reload");
                let partners = pinfold.get("/v1/partners").ok()?.body;
                partners.contains(address).then_some(())
            };
            assert!(
                wait_until(SOON, is_known).is_some(),
                "{}",
                pinfold.process.output()
            );
        };
        knows(&first);

        save(
            servers,
            "nameserver 127.0.0.1\n# as a client of DHCP writes it\n",
        );
        for contact in ["second", "third"] {
            write(contact);
            let answer = pinfold.post("/v1/reload").unwrap();
            assert_eq!(answer.status, 200, "{}", answer.body);
        }
        let told = pinfold
            .process
            .wait_line(SOON, |line| line.contains("resolve-servers"));
        assert!(told.is_some_and(|line| line.contains("restart pinfold")));
        let second = known(&mut server, 41);
        write("fourth");
        assert_eq!(pinfold.post("/v1/reload").unwrap().status, 200);
        knows(&second);
        let log = pinfold.process.output();
        assert_eq!(log.matches("resolve-servers").count(), 1, "once: {log}");
    });
}

#[test]
fn root_is_told_at_the_start_of_what_it_can_no_longer_reach() {
    if !has_root() {
        return;
    }
    let certificates = Directory::create();
    issue(certificates.path(), "server", &["server.test"]);
    let more = terminating(certificates.path(), "server");
    let key = certificates.path().join("server.key");
    const SOMEBODY: Option<u32> = Some(65534);
    let mut world = World::start_with(1, |setup| {
        setup.listeners[0].service = "tcp".into();
        setup.listeners[0].more = more;
    });
    let unreadable = "a reload will not be able to read this file again";
    assert!(!world.pinfold.process.output().contains(unreadable));
    chown(&key, SOMEBODY, SOMEBODY).unwrap();
    world.restart();
    let log = world.pinfold.process.output();
    let line = log.lines().find(|line| line.contains(unreadable));
    assert!(
        line.is_some_and(|line| line.contains("server.key")),
        "{log}"
    );
    assert_ne!(world.reload().0, 200, "it was right");

    world.pinfold.process.signal(Signal::TERM).unwrap();
    world.pinfold.process.wait_exit(SOON).expect("it ends");
    chown(world.directory.state(), SOMEBODY, SOMEBODY).unwrap();
    let mut pinfold = Pinfold::start(&world.directory);
    let exit = pinfold
        .process
        .wait_exit(SOON)
        .expect("it cannot keep anything");
    assert_eq!(exit.code(), Some(71), "{}", pinfold.process.output());
    let log = pinfold.process.output();
    assert!(
        log.contains("another user's") && log.contains("run pinfold as that user"),
        "{log}"
    );
}
