//! Readers that read nothing of what a node sends fast: they hold little, and lose nothing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use h2::client::SendRequest;
use hyper::body::Bytes;
use hyper::{Request, Uri};
use pinfold_loadtest::process::wait_until;
use pinfold_loadtest::tls::{TlsVersion, client_config};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::browser::Browser;
use super::site::HUGE;
use super::{Directory, SOON, Site, before_with};
use crate::world::World;

fn world_with_little_memory(site: &Site, directory: &Directory) -> World {
    before_with(&[site.address()], directory, "pin = \"none\"", |setup| {
        setup.server = "workers = 1\nbuffer_memory = \"1MiB\"".into();
    })
}

/// Waits until nothing passes any more: nobody reads.
fn wait_until_stuck(world: &World) {
    let mut last = (None, Instant::now());
    let is_stuck = || {
        let name = "pinfold_bytes_total{listener=\"federation\",direction=\"down\"}";
        let count = world.pinfold.metric(name);
        if count != last.0 {
            last = (count, Instant::now());
        }
        (last.1.elapsed() > STILL).then_some(())
    };
    assert!(
        wait_until(SOON * 6, is_stuck).is_some(),
        "who reads all that?"
    );
}

/// Whoever gets on with nothing for so long is held up.
const STILL: Duration = Duration::from_millis(700);

#[test]
fn who_reads_nothing_holds_little_and_loses_nothing() {
    let (site, directory) = (Site::start("web1"), Directory::create());
    let world = world_with_little_memory(&site, &directory);
    let mut browsers: Vec<_> = (0..READERS)
        .map(|_| Browser::connect_narrow(world.address()))
        .collect();
    for browser in &mut browsers {
        assert_eq!(browser.get("/", "").unwrap().status, 200);
    }
    let resident = world.pinfold.resident();
    for browser in &mut browsers {
        let asked = browser.say(b"GET /huge HTTP/1.1\r\nHost: web.contoso.com\r\n\r\n");
        asked.unwrap();
    }
    wait_until_stuck(&world);
    let grown = world.pinfold.resident().saturating_sub(resident);
    assert!(grown < READERS * EACH_MAX, "{grown} KiB");
    // While others read nothing: what is short is the same for all.
    let mut first = browsers.remove(0);
    let answer = first.response().unwrap();
    assert_eq!((answer.status, answer.body.len()), (200, HUGE));
    assert!(answer.body.iter().all(|byte| *byte == b'x'));
    assert_eq!(first.get("/", "").unwrap().status, 200);
}

/// So many read nothing.
const READERS: u64 = 128;
/// What each of them may hold on an average, in KiB: the buffer that its node is read into, and little besides. All that
/// may wait is some 300.
const EACH_MAX: u64 = 220;

#[test]
fn who_opens_no_window_holds_little() {
    let (site, directory) = (Site::start("web1"), Directory::create());
    let world = world_with_little_memory(&site, &directory);
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().unwrap();
    let tasks = tokio::task::LocalSet::new();
    let address = world.address();
    let connecting = async {
        let mut clients = Vec::new();
        for _ in 0..READERS / STREAMS {
            clients.push(narrow(address).await);
        }
        clients
    };
    let mut clients = runtime.block_on(tasks.run_until(connecting));
    let resident = world.pinfold.resident();
    let asking = async {
        let mut answers = Vec::new();
        for client in &mut clients {
            for _ in 0..STREAMS {
                let uri = Uri::from_static("https://web.contoso.com/huge");
                let (answer, _) = client
                    .send_request(Request::get(uri).body(()).unwrap(), true)
                    .unwrap();
                answers.push(answer);
            }
        }
        let mut bodies = Vec::new();
        for answer in answers {
            bodies.push(answer.await.unwrap().into_body());
        }
        bodies
    };
    let bodies = runtime.block_on(tasks.run_until(asking));
    wait_until_stuck(&world);
    let grown = world.pinfold.resident().saturating_sub(resident);
    assert!(grown < READERS * OF_STREAM_MAX, "{grown} KiB");
    drop((bodies, clients));
    let mut other = Browser::connect(world.address());
    assert_eq!(other.get("/", "").unwrap().status, 200);
}

/// What each stream may hold on an average, in KiB; all that may wait is some 80.
const OF_STREAM_MAX: u64 = 60;
/// Requests of one connection that have a node at the same time.
const STREAMS: u64 = 16;

/// A client of HTTP/2 that takes one byte of each response.
async fn narrow(address: SocketAddr) -> SendRequest<Bytes> {
    let mut config = ClientConfig::clone(&client_config(TlsVersion::V1_3).unwrap());
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = ServerName::try_from("web.contoso.com").unwrap();
    let stream = TcpStream::connect(address).await.unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream);
    let mut builder = h2::client::Builder::new();
    let client = builder
        .initial_window_size(1)
        .handshake(stream.await.unwrap());
    let (client, connection) = client.await.unwrap();
    tokio::task::spawn_local(connection);
    client
}
