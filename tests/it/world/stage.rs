//! The thread on which simulated partners, bystanders and in-process nodes play.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::thread::{self, JoinHandle};

use pinfold_loadtest::{Background, Partner, SimulatedEdge, background, partner};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use super::caller_address;

/// A runtime on a thread of its own, so that a test may block.
#[derive(Debug)]
pub(crate) struct Stage {
    handle: Handle,
    close: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Stage {
    pub(crate) fn open() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let handle = runtime.handle().clone();
        let (close, closed) = oneshot::channel::<()>();
        let thread = thread::spawn(move || {
            let _ = runtime.block_on(closed);
        });
        Self {
            handle,
            close: Some(close),
            thread: Some(thread),
        }
    }

    /// A partner that calls `address` from `source` for ever.
    pub(crate) fn stubborn(&self, name: &str, address: SocketAddr, source: Ipv4Addr) -> Partner {
        let mut plan = partner::Plan::new(name, address);
        plan.source = Some(IpAddr::V4(source));
        self.partner(plan)
    }

    /// A stubborn partner with a plan of its own.
    pub(crate) fn partner(&self, plan: partner::Plan) -> Partner {
        let _entered = self.handle.enter();
        Partner::stubborn(plan)
    }

    /// Bystanders, each from an address of its own.
    pub(crate) fn background(&self, mut plan: background::Plan) -> Background {
        plan.sources = (0..plan.sessions)
            .map(|number| caller_address(number).into())
            .collect();
        let _entered = self.handle.enter();
        Background::start(plan)
    }

    /// A node in this process, for faults that no process can have on command.
    pub(crate) fn edge(&self, name: &str) -> SimulatedEdge {
        let any = (Ipv4Addr::LOCALHOST, 0).into();
        self.wait(SimulatedEdge::start(name, any)).unwrap()
    }

    /// Waits for something that happens on the stage.
    pub(crate) fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.handle.block_on(future)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        drop(self.close.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
