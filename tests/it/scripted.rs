//! Nodes that follow a script of one line, and keep what they were told.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use pinfold_loadtest::process::wait_until;

use crate::wire::Ended;
use crate::world::{SOON, Setup};

/// What a node does with a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Script {
    /// Says what it hears, and finishes when the client does.
    Echo,
    /// Listens to the end and says nothing.
    Listen,
    /// Listens to the end, and only then says this.
    AnswerAtTheEnd(&'static [u8]),
    /// Says this as soon as somebody is there, then listens to the end.
    Greet(&'static [u8]),
    /// Says this and finishes at once, then listens to the end.
    FinishFirst(&'static [u8]),
    /// Neither listens nor speaks, and never lets go.
    Nothing,
}

/// What one connection has told a node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    pub(crate) bytes: Vec<u8>,
    pub(crate) ended: Option<Ended>,
}

/// A node in this process.
#[derive(Debug)]
pub(crate) struct ScriptedNode {
    address: SocketAddr,
    told: Arc<Mutex<Vec<Told>>>,
    closing: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl ScriptedNode {
    pub(crate) fn start(script: Script) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let told = Arc::<Mutex<Vec<Told>>>::default();
        let closing = Arc::new(AtomicBool::new(false));
        let (book, end) = (Arc::clone(&told), Arc::clone(&closing));
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if end.load(SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let mut all = lock(&book);
                all.push(Told::default());
                let page = Page(Arc::clone(&book), all.len() - 1);
                let end = Arc::clone(&end);
                thread::spawn(move || follow(script, stream, &page, &end));
            }
        });
        Self {
            address,
            told,
            closing,
            thread: Some(thread),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Every connection so far, in order.
    pub(crate) fn told(&self) -> Vec<Told> {
        lock(&self.told).clone()
    }

    /// The first connection that pleases.
    pub(crate) fn wait_told(&self, pleases: impl Fn(&Told) -> bool) -> Told {
        wait_until(SOON, || self.told().into_iter().find(&pleases))
            .unwrap_or_else(|| panic!("no connection pleases: {:?}", self.told()))
    }
}

impl Drop for ScriptedNode {
    fn drop(&mut self) {
        self.closing.store(true, SeqCst);
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock(told: &Mutex<Vec<Told>>) -> MutexGuard<'_, Vec<Told>> {
    told.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A connection's place in the book.
struct Page(Arc<Mutex<Vec<Told>>>, usize);

impl Page {
    fn write(&self, change: impl FnOnce(&mut Told)) {
        change(&mut lock(&self.0)[self.1]);
    }
}

fn follow(script: Script, mut stream: TcpStream, page: &Page, closing: &AtomicBool) {
    let _ = stream.set_read_timeout(Some(SOON));
    let _ = stream.set_write_timeout(Some(SOON));
    match script {
        Script::Nothing => {
            let closed = || closing.load(SeqCst).then_some(());
            let _ = wait_until(Duration::from_secs(60), closed);
            return;
        }
        Script::Greet(words) | Script::FinishFirst(words) => {
            let _ = stream.write_all(words);
        }
        Script::Echo | Script::Listen | Script::AnswerAtTheEnd(_) => {}
    }
    if let Script::FinishFirst(_) = script {
        let _ = stream.shutdown(Shutdown::Write);
    }
    let ended = listen(script, &mut stream, page);
    if let Script::AnswerAtTheEnd(words) = script {
        let _ = stream.write_all(words);
    }
    page.write(|told| told.ended = ended);
}

fn listen(script: Script, stream: &mut TcpStream, page: &Page) -> Option<Ended> {
    let mut block = [0; 16 * 1024];
    loop {
        match stream.read(&mut block) {
            Ok(0) => return Some(Ended::Closed),
            Ok(count) => {
                page.write(|told| told.bytes.extend_from_slice(&block[..count]));
                if matches!(script, Script::Echo) && stream.write_all(&block[..count]).is_err() {
                    return Some(Ended::Reset);
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {
                return Some(Ended::Reset);
            }
            Err(_) => return None,
        }
    }
}

/// Nobody asks a scripted node how it is.
pub(crate) const UNASKED: &str = "\n[listener.probe]\nkind = \"none\"";

impl Setup {
    /// Scripted nodes "n1", "n2" … that nobody probes; `more` are lines of the listener.
    pub(crate) fn scripted(&mut self, nodes: &[&ScriptedNode], more: &str) {
        for (number, node) in (1..).zip(nodes) {
            self.node(&format!("n{number}"), node.address());
        }
        self.listeners[0].more = format!("{more}{UNASKED}");
    }
}
