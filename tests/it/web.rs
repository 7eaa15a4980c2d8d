//! The probe `http`: a node is up while it answers as the file says.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::world::World;

/// A web server of one answer, for as long as the process lasts.
struct Web {
    address: SocketAddr,
    answer: Arc<Mutex<&'static str>>,
    asked: Arc<Mutex<String>>,
}

const READY: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nready";

impl Web {
    fn start(answer: &'static str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let web = Self {
            address: listener.local_addr().unwrap(),
            answer: Arc::new(Mutex::new(answer)),
            asked: Arc::default(),
        };
        let (answer, asked) = (Arc::clone(&web.answer), Arc::clone(&web.asked));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let (mut heard, mut block) = (Vec::new(), [0; 1024]);
                while !heard.ends_with(b"\r\n\r\n") {
                    match stream.read(&mut block) {
                        Ok(count) if count > 0 => heard.extend_from_slice(&block[..count]),
                        Ok(_) | Err(_) => break,
                    }
                }
                *asked.lock().unwrap() = String::from_utf8_lossy(&heard).into_owned();
                let _ = stream.write_all(answer.lock().unwrap().as_bytes());
            }
        });
        web
    }

    fn says(&self, answer: &'static str) {
        *self.answer.lock().unwrap() = answer;
    }
}

#[test]
fn a_node_is_up_while_its_status_and_its_text_are_as_they_should_be() {
    let (good, silent) = (Web::start(READY), Web::start(READY));
    let world = World::start_with(0, |setup| {
        setup.node("edge1", good.address);
        setup.node("edge2", silent.address);
        setup.listeners[0].name = "web".into();
        setup.listeners[0].service = "tcp".into();
        setup.listeners[0].more = "[listener.probe]\nkind = \"http\"\npath = \"/health?of=all\"\n\
            status = \"200-299\"\nbody = \"ready\"\n"
            .into();
    });
    let asked = good.asked.lock().unwrap().clone();
    assert!(
        asked.starts_with("GET /health?of=all HTTP/1.1\r\n"),
        "{asked}"
    );
    let host = format!("host: {}\r\n", good.address);
    assert!(asked.to_ascii_lowercase().contains(&host), "{asked}");
    let probed = world.pinfold.json("/v1/nodes/edge1/probe");
    assert_eq!(probed["services"][0]["probe"], "http", "{probed}");
    assert_eq!(probed["services"][0]["result"], "answered", "{probed}");

    good.says("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 5\r\n\r\nready");
    world.pinfold.wait_health("edge1", "down");
    assert_eq!(
        world.pinfold.json("/v1/nodes/edge1/probe")["services"][0]["result"],
        "wrong-answer"
    );
    good.says(READY);
    world.pinfold.wait_health("edge1", "up");
    silent.says("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstart");
    world.pinfold.wait_health("edge2", "down");
    assert_eq!(world.pinfold.node("edge1")["services"][0]["health"], "up");
}
