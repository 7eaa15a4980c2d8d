//! Hearing what is said to flows, which have no task of their own.
//!
//! Whoever interrupts flows rings once for all of them, and does not say which. All are looked at then, a few at a time;
//! those that are interrupted meanwhile, with the next round. So a walk through very many flows that rings at each of its
//! steps costs a few rounds, not one for each step.

use std::sync::Arc;
use std::task::Wake;

use tokio::sync::Notify;
use tokio::task::yield_now;

/// Rung by wakers.
#[derive(Debug, Default)]
pub(super) struct Bell(Notify);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.ring();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ring();
    }
}

impl Bell {
    /// There is something to be heard.
    pub(super) fn ring(&self) {
        self.0.notify_one();
    }

    /// Has `look` look from a place on, which tells from where to go on, whenever it rings, until `is_over`, of which
    /// it must be rung, too.
    pub(super) async fn rounds(
        &self,
        mut look: impl FnMut(usize) -> Option<usize>,
        is_over: impl Fn() -> bool,
    ) {
        while !is_over() {
            self.0.notified().await;
            let mut place = Some(0);
            while let Some(from) = place {
                place = look(from);
                yield_now().await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    /// Flows, how many of them are looked at at once, and after how many each ring comes.
    const FLOWS: usize = 20_000;
    const LOOKS: usize = 256;
    const STEP: usize = 128;

    #[tokio::test]
    async fn very_many_who_are_told_in_steps_are_all_heard_in_a_few_rounds() {
        let bell = Arc::new(Bell::default());
        let told = RefCell::new(vec![false; FLOWS]);
        let (heard, looks) = (Cell::new(0), Cell::new(0_usize));
        let look = |from: usize| {
            looks.set(looks.get() + 1);
            let end = FLOWS.min(from + LOOKS);
            for told in &mut told.borrow_mut()[from..end] {
                heard.set(heard.get() + usize::from(std::mem::take(told)));
            }
            (end < FLOWS).then_some(end)
        };
        let tell = async {
            for step in 0..FLOWS.div_ceil(STEP) {
                let (from, end) = (step * STEP, FLOWS.min((step + 1) * STEP));
                told.borrow_mut()[from..end].fill(true);
                Arc::clone(&bell).wake();
                yield_now().await;
            }
        };
        let hear = bell.rounds(look, || heard.get() == FLOWS);
        let limit = std::time::Duration::from_secs(30);
        let both = async { tokio::join!(hear, tell) };
        tokio::time::timeout(limit, both).await.unwrap();
        let rounds = looks.get().div_ceil(FLOWS.div_ceil(LOOKS));
        assert!(rounds <= 4, "{rounds} rounds");
    }
}
