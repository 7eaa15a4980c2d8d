//! Sessions under pumps, in a runtime like a worker's.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use pinfold::clock::Moment;
use pinfold::relay::pump::{FirstBytes, Gear, Meter, Pump};
use pinfold::relay::session::Sessions;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::sync::Notify;

use crate::peers::Peers;

/// Sessions that live in a runtime of their own.
pub(crate) struct Relay {
    runtime: LocalRuntime,
    peers: Vec<Peers>,
    passed: Rc<Passed>,
}

impl Relay {
    pub(crate) fn new(gear: Gear, sessions: usize) -> Self {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build_local(LocalOptions::default())
            .expect("descriptors are left");
        let peers: Vec<Peers> = (0..sessions).map(|_| Peers::connect()).collect();
        let passed = Rc::new(Passed::default());
        let (gear, list) = (Rc::new(gear), Rc::new(Sessions::new(Moment::START)));
        runtime.block_on(async {
            for each in &peers {
                let legs = (leg(&each.source), leg(&each.sink));
                let (gear, list, meter) = (Rc::clone(&gear), Rc::clone(&list), Rc::clone(&passed));
                tokio::task::spawn_local(async move {
                    let (seat, first) = (list.admit(1), nothing_first());
                    let meter = Passing(meter);
                    Pump::new(&gear, &seat, meter, legs, first, 0, &Duration::ZERO)
                        .until_ended()
                        .await
                });
            }
            tokio::task::yield_now().await;
        });
        Self {
            runtime,
            peers,
            passed,
        }
    }

    pub(crate) fn peers(&self) -> &[Peers] {
        &self.peers
    }

    /// Runs the sessions until so many bytes have passed.
    pub(crate) fn run_until(&self, bytes: usize) {
        self.passed.left.set(bytes as u64);
        self.runtime.block_on(self.passed.enough.notified());
    }

    /// Runs them until one has moved what it could.
    pub(crate) fn run_a_turn(&self) {
        // What waits for the peer to take delivery would wait for ever: the peer's turn is later.
        let turn = async || tokio::time::timeout(PATIENCE, self.passed.enough.notified()).await;
        self.passed.left.set(1);
        let _ = self.runtime.block_on(turn());
    }
}

const PATIENCE: Duration = Duration::from_millis(20);

fn leg(end: &std::net::TcpStream) -> TcpStream {
    let end = end.try_clone().expect("descriptors are left");
    TcpStream::from_std(end).expect("it does not block")
}

fn nothing_first() -> FirstBytes {
    FirstBytes {
        bytes: Vec::new(),
        finished: false,
    }
}

/// Waits for bytes that go up.
#[derive(Default)]
struct Passed {
    left: Cell<u64>,
    enough: Notify,
}

struct Passing(Rc<Passed>);

impl Meter for Passing {
    fn sent_up(&self, bytes: u64) {
        let Passed { left, enough } = &*self.0;
        left.set(left.get().saturating_sub(bytes));
        if left.get() == 0 {
            enough.notify_one();
        }
    }

    fn came_down(&self, _: u64) {}

    fn lasted(&self, _: &TcpStream) {}
}
