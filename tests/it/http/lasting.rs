//! What lasts: tunnels, connections that outlive reloads, and nodes that are to be emptied under them.

use std::time::{Duration, Instant};

use pinfold_loadtest::process::wait_until;

use super::browser::Browser;
use super::{Directory, SOON, Site, before, curl, two};

#[test]
fn a_tunnel_lasts_as_long_as_somebody_speaks_and_counts() {
    let site = Site::start("web1");
    let directory = Directory::create();
    let beside = "idle_timeout = \"700ms\"\npin = \"none\"\nhttp = { request_timeout = \"300ms\" }";
    let world = before(&[&site], &directory, beside);
    let mut browser = Browser::connect(world.address());
    let lines = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
    assert_eq!(browser.get("/socket", lines).unwrap().status, 101);
    let begun = Instant::now();
    let mut said = 0;
    while begun.elapsed() < Duration::from_millis(2500) {
        browser.say(b"word").unwrap();
        assert_eq!(browser.hear(8).unwrap(), b"wordword");
        said += 1;
        crate::world::pass(Duration::from_millis(100));
    }
    let up = world
        .pinfold
        .metric("pinfold_bytes_total{listener=\"federation\",direction=\"up\"}");
    assert!(up >= Some(f64::from(said * 4)), "{up:?}");
    // Silence ends it.
    assert!(browser.has_ended());
}

#[test]
fn nothing_changes_over_to_http_again() {
    let site = Site::start("web1");
    let directory = Directory::create();
    let world = before(&[&site], &directory, "");
    let mut browser = Browser::connect(world.address());
    let lines =
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n";
    assert_eq!(browser.get("/", lines).unwrap().status, 200);
    let asked = site.wait_asked("GET / ");
    assert_eq!(
        (asked.header("upgrade"), asked.header("connection")),
        (None, None)
    );
}

#[test]
fn a_kept_connection_goes_by_what_the_file_says_by_now() {
    let [one, two] = two();
    let directory = Directory::create();
    let mut world = before(&[&one], &directory, "pin = \"none\"");
    let mut browser = Browser::connect(world.address());
    assert_eq!(browser.get("/", "").unwrap().node(), "web1");
    // Asked otherwise, its node is another endpoint.
    world.reload_with(|setup| {
        let more = &mut setup.listeners[0].more;
        *more = more.replace("kind = \"tcp\"", "kind = \"http\"");
    });
    world.wait_all_up();
    assert_eq!(browser.get("/", "").unwrap().node(), "web1");
    // Another node takes its place.
    world.reload_with(|setup| {
        setup.remove_node("web1");
        setup.node("web2", two.address());
    });
    world.wait_all_up();
    assert_eq!(browser.get("/", "").unwrap().node(), "web2");
    // Its listener goes: it is answered once more, and told to come again elsewhere.
    world.reload_with(|setup| {
        let mut other = setup.listeners[0].clone();
        other.name = "other".into();
        setup.listeners[0] = other;
    });
    let answer = browser.get("/", "").unwrap();
    assert_eq!(
        (answer.status, answer.header("connection")),
        (200, Some("close")),
        "{answer:?}"
    );
    assert!(browser.has_ended());
}

#[test]
fn a_node_that_drains_is_left_by_idle_lines_but_not_by_who_is_known_there() {
    let [one, two] = two();
    let directory = Directory::create();
    let world = before(&[&one, &two], &directory, "pin = \"none\"");
    let mut known = Browser::connect(world.address());
    assert_eq!(
        known
            .get("/ntlm", "Authorization: NTLM TlRM\r\n")
            .unwrap()
            .status,
        200
    );
    let node = known.get("/ntlm", "").unwrap().node();
    let mut stranger = Browser::connect(world.address());
    let other = if node == "web1" { "web2" } else { "web1" };
    for _ in 0..2 {
        stranger.get("/", "").unwrap();
    }
    let told = world.pinfold(&["drain", &node, "--reason", "a test"]);
    assert!(told.status.success(), "{told:?}");
    // Its next requests go elsewhere, one after the other.
    for _ in 0..4 {
        assert_eq!(stranger.get("/", "").unwrap().node(), other);
    }
    for _ in 0..4 {
        let answer = known.get("/ntlm", "").unwrap();
        assert_eq!((answer.status, answer.node()), (200, node.clone()));
    }
}

#[test]
fn a_request_that_makes_nodes_fail_meets_two_of_them_at_most() {
    let sites: Vec<_> = (1..=4)
        .map(|number| Site::start(&format!("web{number}")))
        .collect();
    let directory = Directory::create();
    let world = before(
        &sites.iter().collect::<Vec<_>>(),
        &directory,
        "pin = \"none\"",
    );
    let mut browser = Browser::connect(world.address());
    assert_eq!(browser.get("/die", "").unwrap().status, 502);
    let met = sites
        .iter()
        .flat_map(Site::asked)
        .filter(|asked| asked.head.contains("/die"));
    assert_eq!(met.count(), 2);
}

#[test]
fn requests_of_http_2_share_few_lines_and_their_cookies_are_one_line() {
    let site = Site::start("web1");
    let directory = Directory::create();
    let world = before(&[&site], &directory, "pin = \"none\"");
    let address = world.address();
    let url = format!("https://{address}/silent?[1-40]");
    let directory_of_curl = Directory::create();
    let asking = std::thread::spawn(move || {
        let words = [
            "--http2",
            "--parallel",
            "--parallel-immediate",
            "-H",
            "Cookie: a=1",
            "-H",
            "Cookie: b=2",
        ];
        curl(&directory_of_curl, &[&words[..], &[&url]].concat())
    });
    // As many as may be under way at once are.
    let waiting = || {
        site.asked()
            .iter()
            .filter(|asked| asked.head.contains("/silent"))
            .count()
    };
    assert!(wait_until(SOON, || (waiting() >= 16).then_some(())).is_some());
    let sessions = world.pinfold.node("web1")["sessions"].as_u64().unwrap();
    site.let_go();
    let told = asking.join().unwrap();
    assert_eq!(told.matches("web1 GET /silent").count(), 40, "{told}");
    // curl may open more than one connection until it knows that they are of HTTP/2.
    assert!(sessions <= 40, "{sessions} lines");
    for asked in site.asked() {
        let cookies = asked
            .head
            .lines()
            .filter(|line| line.to_lowercase().starts_with("cookie:"));
        assert!(cookies.count() <= 1, "{}", asked.head);
    }
}
