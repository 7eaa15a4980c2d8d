//! Clients that mean ill: two meanings in one request, heads that never end, bodies that never come.

use super::browser::Browser;
use super::{Directory, Site, before};

/// What is said, and the status that answers it; 0: the connection ends without one.
const TABLE: &[(&str, &str, u16)] = &[
    (
        "two lengths",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        400,
    ),
    (
        "a length of two values",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 4\r\n\r\nabcd",
        400,
    ),
    (
        "a length and chunks",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    (
        "chunks and a length",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
        400,
    ),
    (
        "a signed length",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc",
        400,
    ),
    (
        "chunks that are not last",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
        400,
    ),
    (
        "an unknown coding",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    (
        "chunks in HTTP/1.0",
        "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    (
        "a space before the colon",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length : 3\r\n\r\n",
        400,
    ),
    (
        "a folded line",
        "GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n 2\r\n\r\n",
        400,
    ),
    (
        "two hosts",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        400,
    ),
    (
        "another host in the target",
        "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n",
        400,
    ),
    (
        "a tunnel",
        "CONNECT db:1433 HTTP/1.1\r\nHost: db:1433\r\n\r\n",
        405,
    ),
    ("no HTTP", "\u{16}\u{3}\u{1} is no request\r\n\r\n", 400),
    (
        "an end of line in a header",
        "GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n",
        400,
    ),
];

#[test]
fn a_request_with_two_meanings_reaches_no_node() {
    let site = Site::start("web1");
    let directory = Directory::create();
    let world = before(&[&site], &directory, "");
    for (what, said, status) in TABLE {
        let mut browser = Browser::connect(world.address());
        browser.say(said.as_bytes()).unwrap();
        let found = browser.response().map_or(0, |answer| answer.status);
        assert_eq!(found, *status, "{what}");
        assert!(
            *status == 405 || browser.has_ended(),
            "{what}: and the connection is over"
        );
    }
    assert!(site.asked().is_empty(), "{:?}", site.asked());
}

#[test]
fn what_hides_behind_a_request_is_framed_anew() {
    let site = Site::start("web1");
    let directory = Directory::create();
    let world = before(&[&site], &directory, "");
    let mut browser = Browser::connect(world.address());
    // Pipelined: the second one is looked at by hyper alone, which takes the chunks and closes.
    let said = "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n\
                POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n\
                0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    browser.say(said.as_bytes()).unwrap();
    assert_eq!(browser.response().unwrap().status, 200);
    while browser.response().is_ok() {}
    assert!(
        site.asked()
            .iter()
            .all(|asked| !asked.head.contains("smuggled")),
        "{:?}",
        site.asked()
    );
    for asked in site.asked() {
        let framed = [
            asked.header("content-length"),
            asked.header("transfer-encoding"),
        ];
        assert!(framed.iter().flatten().count() <= 1, "{asked:?}");
    }
}

#[test]
fn a_head_or_a_body_that_does_not_come_ends_the_connection_in_time() {
    let site = Site::start("web1");
    let directory = Directory::create();
    let world = before(
        &[&site],
        &directory,
        "[listener.http]\nrequest_timeout = \"300ms\"",
    );
    let mut head = Browser::connect(world.address());
    head.say(b"GET / HTTP/1.1\r\nHost: ").unwrap();
    assert!(head.has_ended());
    let mut body = Browser::connect(world.address());
    body.say(b"POST /length HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")
        .unwrap();
    let answer = body.response().unwrap();
    assert_eq!(answer.status, 408, "{answer:?}");
    assert!(body.has_ended());
    // Between requests there is no hurry.
    let mut idle = Browser::connect(world.address());
    assert_eq!(idle.get("/", "").unwrap().status, 200);
    crate::world::pass(std::time::Duration::from_millis(900));
    assert_eq!(idle.get("/", "").unwrap().status, 200);
}

#[test]
fn a_head_without_end_is_refused_and_others_are_served() {
    let site = Site::start("web1");
    let directory = Directory::create();
    let world = before(&[&site], &directory, "");
    let mut flood = Browser::connect(world.address());
    let mut is_open = flood.say(b"GET / HTTP/1.1\r\nHost: a\r\n").is_ok();
    for number in 0..100_000 {
        is_open = is_open
            && flood
                .say(format!("X-{number}: {}\r\n", "a".repeat(100)).as_bytes())
                .is_ok();
        if !is_open {
            break;
        }
    }
    let refused = flood.response().map_or(0, |answer| answer.status);
    assert!([0, 400, 431].contains(&refused), "{refused}");
    let mut other = Browser::connect(world.address());
    assert_eq!(other.get("/", "").unwrap().status, 200);
}
