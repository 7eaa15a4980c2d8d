//! Nodes in this process that answer requests of SIP, or do not, and keep every byte that they were sent.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use pinfold_loadtest::process::wait_until;
use socket2::SockRef;

use crate::world::SOON;

/// A node.
#[derive(Debug)]
pub(crate) struct SipNode {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    name: String,
    address: SocketAddr,
    /// Whether requests are answered, by 200.
    answers: AtomicBool,
    /// Whether it reads.
    reads: (Mutex<bool>, Condvar),
    /// Nobody else is let in.
    deaf: AtomicBool,
    closing: AtomicBool,
    /// Those that have said something: probes do not.
    connections: Mutex<Vec<Connection>>,
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    heard: Vec<u8>,
    /// The peer has finished.
    has_ended: bool,
}

impl SipNode {
    pub(crate) fn start(name: &str) -> Self {
        Self::start_at(name, (Ipv4Addr::LOCALHOST, 0).into())
    }

    pub(crate) fn start_at(name: &str, address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            address: listener.local_addr().unwrap(),
            answers: AtomicBool::new(true),
            reads: (Mutex::new(true), Condvar::new()),
            deaf: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            connections: Mutex::default(),
        });
        let node = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if node.deaf.load(SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let node = Arc::clone(&node);
                thread::spawn(move || serve(&node, stream));
            }
        });
        Self {
            shared,
            thread: Some(thread),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.shared.address
    }

    /// From here on requests are answered, or heard in silence.
    pub(crate) fn answer(&self, answers: bool) {
        self.shared.answers.store(answers, SeqCst);
    }

    /// From here on it reads what it is sent, or nothing.
    pub(crate) fn read(&self, reads: bool) {
        let (lock, told) = &self.shared.reads;
        *lock.lock().unwrap_or_else(PoisonError::into_inner) = reads;
        told.notify_all();
    }

    /// What each connection has said, in the order in which they began to.
    pub(crate) fn heard(&self) -> Vec<Vec<u8>> {
        let connections = self.shared.lock();
        connections.iter().map(|each| each.heard.clone()).collect()
    }

    /// Waits until all that was heard pleases.
    pub(crate) fn wait_heard(&self, pleases: impl Fn(&str) -> bool) -> String {
        let text = || String::from_utf8_lossy(&self.heard().concat()).into_owned();
        let heard = wait_until(SOON, || Some(text()).filter(|text| pleases(text)));
        heard.unwrap_or_else(|| panic!("{} has not heard that: {}", self.shared.name, text()))
    }

    /// Waits until whoever came last has finished; it is not let go.
    pub(crate) fn wait_finished(&self) {
        let has_ended = || {
            let connections = self.shared.lock();
            connections.last()?.has_ended.then_some(())
        };
        assert!(wait_until(SOON, has_ended).is_some());
    }

    /// Lets go in order of whoever came last.
    pub(crate) fn finish(&self) {
        let connections = self.shared.lock();
        let newest = connections.last().expect("somebody is there");
        newest.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Says `bytes` over its newest connection.
    pub(crate) fn say(&self, bytes: &[u8]) {
        let connections = self.shared.lock();
        let newest = connections.last().expect("somebody is there");
        (&newest.stream).write_all(bytes).unwrap();
    }

    /// Whoever connects is refused; whoever is there is served.
    pub(crate) fn stop_listening(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.shared.deaf.store(true, SeqCst);
            let _ = TcpStream::connect(self.shared.address);
            let _ = thread.join();
        }
    }

    /// Ends as a process does that is killed: whoever connects is refused, whoever is there is reset.
    pub(crate) fn kill(&mut self) {
        self.shared.closing.store(true, SeqCst);
        self.stop_listening();
        for connection in self.shared.lock().iter() {
            let _ = SockRef::from(&connection.stream).set_linger(Some(Duration::ZERO));
            let _ = connection.stream.shutdown(Shutdown::Read);
        }
    }
}

impl Drop for SipNode {
    fn drop(&mut self) {
        self.read(true);
        self.kill();
    }
}

impl Shared {
    fn wait_until_it_reads(&self) {
        let (lock, told) = &self.reads;
        let reads = lock.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = told.wait_while(reads, |reads| !*reads);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves until the client has finished, or the node is killed; the stream is closed by the last that lets it go.
fn serve(node: &Shared, mut stream: TcpStream) {
    let (mut place, mut block) = (None, [0; 16 * 1024]);
    let mut waiting = Vec::new();
    let _ = stream.set_write_timeout(Some(SOON * 6));
    while let Ok(count @ 1..) = stream.read(&mut block) {
        let read = &block[..count];
        waiting.extend_from_slice(read);
        let mut all = node.lock();
        let place = *place.get_or_insert_with(|| {
            let stream = stream.try_clone().unwrap();
            all.push(Connection {
                stream,
                heard: Vec::new(),
                has_ended: false,
            });
            all.len() - 1
        });
        all[place].heard.extend_from_slice(read);
        drop(all);
        node.wait_until_it_reads();
        while let Some(message) = super::take_message(&mut waiting) {
            if node.answers.load(SeqCst)
                && let Some(answer) = super::answer_to(&message, "200 OK", &node.name)
            {
                let _ = stream.write_all(answer.as_bytes());
            }
        }
    }
    if let Some(place) = place {
        node.lock()[place].has_ended = true;
    }
    if node.closing.load(SeqCst) {
        // The other one is closed with it, and so the peer is reset.
        for connection in node.lock().drain(..) {
            drop(connection);
        }
    }
}
