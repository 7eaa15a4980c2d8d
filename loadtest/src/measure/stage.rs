//! The thread on which partner and bystanders play.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::thread::{self, JoinHandle};

use tokio::sync::oneshot;

use super::balancer::PARTNER_ADDRESS;
use crate::background::{self, Background};
use crate::partner::{self, Partner};

/// Partner and bystanders at work; dropping it ends them.
#[derive(Debug)]
pub(super) struct Stage {
    partner: Partner,
    background: Background,
    sessions: usize,
    close: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Stage {
    pub(super) fn open(address: SocketAddr, sessions: usize) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let mut partner = partner::Plan::new("stubborn", address);
        partner.source = Some(IpAddr::V4(PARTNER_ADDRESS));
        let mut others = background::Plan::new(address, sessions);
        others.sources = sources(sessions);
        let entered = runtime.enter();
        let (partner, background) = (Partner::stubborn(partner), Background::start(others));
        drop(entered);
        let (close, closed) = oneshot::channel::<()>();
        let thread = thread::spawn(move || {
            let _ = runtime.block_on(closed);
        });
        Ok(Self {
            partner,
            background,
            sessions,
            close: Some(close),
            thread: Some(thread),
        })
    }

    pub(super) const fn partner(&self) -> &Partner {
        &self.partner
    }

    pub(super) const fn background(&self) -> &Background {
        &self.background
    }

    /// Whether all bystanders stand.
    pub(super) fn is_complete(&self) -> bool {
        self.background.stats().standing() == self.sessions
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

/// An address of its own for each bystander, so that each is pinned for itself.
fn sources(sessions: usize) -> Vec<IpAddr> {
    let hosts = (1..=250_u8).flat_map(|third| (1..=250_u8).map(move |last| (third, last)));
    hosts
        .take(sessions)
        .map(|(third, last)| Ipv4Addr::new(127, 1, third, last).into())
        .collect()
}
