//! HTTP inside TLS that ends at Pinfold: each request finds a node, and nobody is sent where he was not meant to go.

use std::net::SocketAddr;
use std::process::Command;

use pinfold_loadtest::process::wait_until;

use self::browser::Browser;
use self::site::Site;
use crate::terminated::terminating;
use crate::tls::certify;
use crate::world::{Directory, SOON, Setup, World};

pub(crate) mod browser;
mod hostile;
mod lasting;
mod real;
mod site;
mod slow;

/// Sites behind a listener that ends TLS, with keys or a table of the listener beside.
fn before(sites: &[&Site], directory: &Directory, beside: &str) -> World {
    let addresses: Vec<_> = sites.iter().map(|site| site.address()).collect();
    before_all(&addresses, directory, beside)
}

/// The same before whoever is at `addresses`, called "web1" and so on.
fn before_all(addresses: &[SocketAddr], directory: &Directory, beside: &str) -> World {
    before_with(addresses, directory, beside, |_| {})
}

/// The same, otherwise set up.
fn before_with(
    addresses: &[SocketAddr],
    directory: &Directory,
    beside: &str,
    differ: impl FnOnce(&mut Setup),
) -> World {
    certify(directory.path());
    let tables = terminating(directory.path(), "server");
    let (keys, table) = match beside.starts_with('[') {
        true => ("", beside),
        false => (beside, ""),
    };
    let more = format!("protocol = \"http\"\n{keys}\n{tables}\n{table}\n");
    World::start_with(0, |setup| {
        for (number, address) in addresses.iter().enumerate() {
            setup.node(&format!("web{}", number + 1), *address);
        }
        setup.listeners[0].service = "tcp".into();
        setup.listeners[0].more = more;
        differ(setup);
    })
}

fn two() -> [Site; 2] {
    [Site::start("web1"), Site::start("web2")]
}

#[test]
fn requests_of_one_connection_are_placed_one_by_one() {
    let [one, two] = two();
    let directory = Directory::create();
    let world = before(&[&one, &two], &directory, "pin = \"none\"");
    let mut browser = Browser::connect(world.address());
    let nodes: Vec<_> = (0..10)
        .map(|number| browser.get(&format!("/{number}"), "").unwrap().node())
        .collect();
    for node in ["web1", "web2"] {
        assert!(
            nodes.iter().filter(|each| *each == node).count() >= 3,
            "{nodes:?}"
        );
    }
    // Each node has one connection, which is kept.
    assert!(
        one.asked()
            .iter()
            .chain(&two.asked())
            .all(|asked| asked.connection == 0)
    );
    let count = world
        .pinfold
        .metric("pinfold_http_responses_total{listener=\"federation\",class=\"2xx\"}");
    assert_eq!(count, Some(10.0));
}

#[test]
fn a_node_is_told_on_whose_behalf_and_nothing_that_concerns_the_clients_connection() {
    let site = Site::start("web1");
    let directory = Directory::create();
    let world = before(&[&site], &directory, "");
    let mut browser = Browser::connect(world.address());
    let answer = browser
        .get(
            "/a?b=c%20d",
            "X-Forwarded-For: 192.0.2.9\r\nConnection: keep-alive, X-Odd\r\nX-Odd: 1\r\nTE: trailers\r\nCookie: a=b\r\n",
        )
        .unwrap();
    assert_eq!(answer.text(), "web1 GET /a?b=c%20d HTTP/1.1\n");
    assert_eq!(answer.header("via"), Some("1.1 pinfold"));
    assert_eq!(answer.header("keep-alive"), None);
    let asked = site.wait_asked("/a?b");
    assert_eq!(asked.header("host"), Some("web.contoso.com"));
    assert_eq!(
        asked.header("x-forwarded-for"),
        Some("192.0.2.9, 127.0.0.1")
    );
    assert_eq!(asked.header("x-forwarded-proto"), Some("https"));
    assert_eq!(asked.header("via"), Some("1.1 pinfold"));
    assert_eq!(asked.header("cookie"), Some("a=b"));
    assert_eq!((asked.header("x-odd"), asked.header("te")), (None, None));
}

#[test]
fn every_response_to_a_request_without_the_cookie_sets_it_and_it_holds_the_client() {
    let [one, two] = two();
    let directory = Directory::create();
    let mut world = before(&[&one, &two], &directory, "pin = \"cookie\"");
    let mut browser = Browser::connect(world.address());
    for _ in 0..3 {
        let answer = browser.get("/", "").unwrap();
        let set = answer.header("set-cookie").expect("set each time");
        assert!(set.starts_with("MS-WSMAN="), "{set}");
        let attributes: Vec<_> = set.split("; ").skip(1).collect();
        assert_eq!(
            attributes,
            ["Path=/", "Secure"],
            "a session's, and not HttpOnly"
        );
        let (node, cookie) = (answer.node(), answer.cookie().unwrap());
        for _ in 0..4 {
            // Also over other connections.
            let mut other = Browser::connect(world.address());
            let answer = other
                .get("/", &format!("Cookie: x=y; {cookie}\r\n"))
                .unwrap();
            assert_eq!(answer.node(), node);
            assert_eq!(answer.header("set-cookie"), None);
        }
    }
    // One that names nobody is as none.
    let answer = browser.get("/", "Cookie: MS-WSMAN=00ff\r\n").unwrap();
    assert!(
        answer
            .cookie()
            .is_some_and(|cookie| cookie != "MS-WSMAN=00ff")
    );
    // A node that is gone lets its clients go, with a new cookie.
    let (node, cookie) = (answer.node(), answer.cookie().unwrap());
    let (dead, other) = match node.as_str() {
        "web1" => (&one, "web2"),
        _ => (&two, "web1"),
    };
    dead.die();
    let answer = browser.get("/", &format!("Cookie: {cookie}\r\n")).unwrap();
    assert_eq!((answer.status, answer.node().as_str()), (200, other));
    assert!(answer.cookie().is_some_and(|new| new != cookie));
    // A reload forgets nobody.
    let cookie = answer.cookie().unwrap();
    world.reload_harmlessly(1);
    let answer = browser.get("/", &format!("Cookie: {cookie}\r\n")).unwrap();
    assert_eq!(
        (answer.node().as_str(), answer.header("set-cookie")),
        (other, None)
    );
}

#[test]
fn a_client_is_held_by_its_address_where_the_listener_pins_by_source() {
    let [one, two] = two();
    let directory = Directory::create();
    let world = before(&[&one, &two], &directory, "pin = \"source\"");
    let mut browser = Browser::connect(world.address());
    let node = browser.get("/", "").unwrap().node();
    assert_eq!(world.pinfold.pin("127.0.0.1"), Some(node.clone()));
    for number in 0..6 {
        let mut other = Browser::connect(world.address());
        for request in 0..2 {
            let answer = other.get(&format!("/{number}/{request}"), "").unwrap();
            assert_eq!(
                (answer.node(), answer.header("set-cookie")),
                (node.clone(), None)
            );
        }
    }
    let (pinned, other) = match node.as_str() {
        "web1" => (&one, "web2"),
        _ => (&two, "web1"),
    };
    pinned.die();
    assert_eq!(browser.get("/", "").unwrap().node(), other);
    assert_eq!(
        world.pinfold.pin("127.0.0.1").as_deref(),
        Some(other),
        "the pin has moved"
    );
}

#[test]
fn a_request_goes_to_another_node_only_where_it_cannot_have_run() {
    let [one, two] = two();
    let directory = Directory::create();
    let world = before(&[&one, &two], &directory, "pin = \"none\"");
    let mut browser = Browser::connect(world.address());
    // Both close it unanswered: each is asked once, and the client hears of it.
    let answer = browser.get("/die", "").unwrap();
    assert_eq!(answer.status, 502, "{answer:?}");
    assert!(answer.text().contains("node-lost"), "{answer:?}");
    let deaths = |site: &Site| {
        site.asked()
            .iter()
            .filter(|asked| asked.head.contains("/die"))
            .count()
    };
    assert_eq!((deaths(&one), deaths(&two)), (1, 1));
    // One with a body runs once at most.
    browser
        .say(b"POST /die HTTP/1.1\r\nHost: web\r\nContent-Length: 3\r\n\r\nabc")
        .unwrap();
    let answer = browser.response().unwrap();
    assert_eq!(answer.status, 502, "{answer:?}");
    assert!(answer.text().contains("It may have carried it out."));
    assert_eq!(deaths(&one) + deaths(&two), 3);
    // The client's connection has outlived it all.
    assert_eq!(browser.get("/", "").unwrap().status, 200);
}

#[test]
fn a_client_outlives_its_node_and_a_pool_without_nodes_is_told_of() {
    let [one, two] = two();
    let directory = Directory::create();
    let world = before(&[&one, &two], &directory, "pin = \"cookie\"");
    let mut browser = Browser::connect(world.address());
    let cookie = browser.get("/", "").unwrap().cookie().unwrap();
    let lines = format!("Cookie: {cookie}\r\n");
    one.die();
    assert_eq!(browser.get("/", &lines).unwrap().node(), "web2");
    two.die();
    let answer = browser.get("/", &lines).unwrap();
    assert_eq!(
        (answer.status, answer.header("retry-after")),
        (503, Some("5"))
    );
    assert!(
        answer.text().contains("on listener “federation”"),
        "{answer:?}"
    );
    assert!(
        world
            .pinfold
            .metric("pinfold_http_responses_total{listener=\"federation\",class=\"5xx\"}")
            >= Some(1.0)
    );
}

#[test]
fn a_request_under_way_leaves_a_node_that_is_disabled_and_its_client_waits_on() {
    let [one, two] = two();
    let directory = Directory::create();
    let world = before(&[&one, &two], &directory, "pin = \"none\"");
    let mut browser = Browser::connect(world.address());
    browser
        .say(b"GET /silent HTTP/1.1\r\nHost: web\r\n\r\n")
        .unwrap();
    let has = |site: &Site| {
        site.asked()
            .iter()
            .any(|asked| asked.head.contains("/silent"))
    };
    let first = wait_until(SOON, || [&one, &two].into_iter().position(has)).unwrap();
    let (disabled, other, left) = match first {
        0 => ("web1", "web2", &two),
        _ => ("web2", "web1", &one),
    };
    let sessions = |node: &str| world.pinfold.node(node)["sessions"].as_u64();
    assert_eq!(
        (sessions(disabled), sessions(other)),
        (Some(1), Some(0)),
        "a line counts"
    );
    let told = world.pinfold(&["disable", disabled, "--yes", "--reason", "a test"]);
    assert!(told.status.success(), "{told:?}");
    left.wait_asked("/silent");
    left.let_go();
    assert_eq!(browser.response().unwrap().node(), other);
    assert_eq!((sessions(disabled), sessions(other)), (Some(0), Some(1)));
    drop(browser);
    let gone = || (sessions(other) == Some(0)).then_some(());
    assert!(wait_until(SOON, gone).is_some(), "and ends with its client");
}

#[test]
fn whoever_authenticates_its_connection_stays_on_its_node_and_has_it_alone() {
    let [one, two] = two();
    let directory = Directory::create();
    let world = before(&[&one, &two], &directory, "pin = \"none\"");
    let mut browser = Browser::connect(world.address());
    let answer = browser.get("/ntlm", "").unwrap();
    assert_eq!(answer.status, 401);
    let answer = browser
        .get("/ntlm", "Authorization: NTLM TlRM\r\n")
        .unwrap();
    assert_eq!(answer.status, 200);
    let node = answer.node();
    for _ in 0..6 {
        // Without a word: the connection is known.
        let answer = browser.get("/ntlm", "").unwrap();
        assert_eq!((answer.status, answer.node()), (200, node.clone()));
    }
    // Nobody else is taken for it.
    for _ in 0..4 {
        let mut other = Browser::connect(world.address());
        assert_eq!(other.get("/ntlm", "").unwrap().status, 401);
    }
}

#[test]
fn a_tunnel_carries_what_both_sides_say_until_its_node_dies() {
    let site = Site::start("web1");
    let directory = Directory::create();
    let world = before(&[&site], &directory, "");
    let mut browser = Browser::connect(world.address());
    let answer = browser
        .get(
            "/socket",
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
        )
        .unwrap();
    assert_eq!(
        (answer.status, answer.header("upgrade")),
        (101, Some("websocket"))
    );
    for said in ["one", "twotwo"] {
        browser.say(said.as_bytes()).unwrap();
        assert_eq!(
            browser.hear(said.len() * 2).unwrap(),
            said.repeat(2).as_bytes()
        );
    }
    site.die();
    assert!(browser.has_ended());
}

#[test]
fn large_bodies_arrive_whole_both_ways_and_a_node_may_think_for_long() {
    let site = Site::start("web1");
    let directory = Directory::create();
    let world = before(
        &[&site],
        &directory,
        "[listener.http]\nrequest_timeout = \"1s\"",
    );
    let mut browser = Browser::connect(world.address());
    assert_eq!(browser.get("/large", "").unwrap().body.len(), 4 << 20);
    let body = vec![b'x'; 3 << 20];
    let head = format!(
        "PUT /length HTTP/1.1\r\nHost: web\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    browser.say(head.as_bytes()).unwrap();
    browser.say(&body).unwrap();
    assert_eq!(
        browser.response().unwrap().text(),
        format!("web1 {}\n", body.len())
    );
    browser
        .say(b"HEAD /length HTTP/1.1\r\nHost: web\r\n\r\n")
        .unwrap();
    // A long poll: what takes time here is the node, not the request.
    let long = wait_until(SOON, || {
        site.asked()
            .iter()
            .find(|asked| asked.head.starts_with("HEAD"))
            .cloned()
    });
    assert!(long.is_some());
    drop(browser);
    let mut browser = Browser::connect(world.address());
    browser
        .say(b"GET /silent HTTP/1.1\r\nHost: web\r\n\r\n")
        .unwrap();
    crate::world::pass(std::time::Duration::from_millis(1500));
    site.let_go();
    assert_eq!(browser.response().unwrap().status, 200);
}

/// `curl` with these words and a cookie jar of its own.
fn curl(directory: &Directory, words: &[&str]) -> String {
    let mut command = Command::new("curl");
    command.current_dir(directory.path());
    let common = [
        "--silent",
        "--show-error",
        "--insecure",
        "--max-time",
        "20",
        "-b",
        "jar",
        "-c",
        "jar",
    ];
    let output = command.args(common).args(words).output();
    let output = output.expect("these tests need the program `curl`");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn curl_is_served_by_both_versions_of_http_and_its_cookie_holds() {
    let [one, two] = two();
    let directory = Directory::create();
    let world = before(&[&one, &two], &directory, "pin = \"cookie\"");
    let address = world.address();
    let show = ["-w", "%{http_version} %{http_code}\\n"];
    let mut nodes = Vec::new();
    for (version, shown) in [("--http2", "2 200"), ("--http1.1", "1.1 200")] {
        let urls: Vec<_> = (0..4)
            .map(|number| format!("https://{address}/{number}"))
            .collect();
        let mut words = vec![version];
        words.extend(show);
        words.extend(urls.iter().map(String::as_str));
        let told = curl(&directory, &words);
        let lines: Vec<_> = told.lines().collect();
        assert_eq!(lines.len(), 8, "{told}");
        for pair in lines.chunks(2) {
            nodes.push(pair[0].split(' ').next().unwrap().to_owned());
            assert_eq!(pair[1], shown, "{told}");
        }
    }
    nodes.dedup();
    assert_eq!(nodes.len(), 1, "{nodes:?}");
    // NTLM and HTTP/2 do not go together: the client comes again by HTTP/1.1.
    let told = curl(
        &directory,
        &[
            "--http2",
            "--ntlm",
            "-u",
            "a:b",
            "-o",
            "none",
            show[0],
            show[1],
            &format!("https://{address}/ntlm"),
        ],
    );
    assert!(told.starts_with("1.1 "), "{told}");
    let asked = one.asked().into_iter().chain(two.asked());
    assert!(asked.into_iter().all(|asked| asked.header("via").is_some()));
}
