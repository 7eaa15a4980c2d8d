//! What passes between a client and its node, as far as both are ready for it.
//!
//! Invariant: nobody is read whose receiver is still owed something.

use std::io;
use std::task::{Context, Poll, ready};

use super::line::Line;
use super::talk::Stop;
use super::{Event, Visit};
use crate::relay::pump::{Leg, Meter, give_way};

impl Visit<'_> {
    /// Moves what can be moved; ready with what has happened.
    pub(super) fn poll(
        &mut self,
        context: &mut Context<'_>,
        mut line: Option<&mut Line>,
    ) -> Poll<Event> {
        if let Poll::Ready(interrupt) = self.life.seat.poll_interrupt(context) {
            return Poll::Ready(Event::Interrupted(interrupt));
        }
        take_turns(context, |context| {
            self.poll_both(context, line.as_deref_mut())
        })
    }

    /// Looks at both sides once. Ready once something has passed.
    fn poll_both(
        &mut self,
        context: &mut Context<'_>,
        mut line: Option<&mut Line>,
    ) -> Poll<Result<(), Event>> {
        if !self.talk.has_deferred()
            && let Some(stop) = self.put_off.take()
        {
            return Poll::Ready(Err(Event::Stopped(stop)));
        }
        let told = self.poll_tell(context);
        if let Poll::Ready(Err(error)) = told {
            return Poll::Ready(Err(Event::ClientGone(Some(error))));
        }
        let up = self.poll_up(context, line.as_deref_mut())?;
        let down = match line.filter(|_| told.is_ready()) {
            Some(line) => self.poll_down(context, line)?,
            None => Poll::Pending,
        };
        match up.is_ready() || down.is_ready() {
            true => Poll::Ready(Ok(())),
            false => Poll::Pending,
        }
    }

    /// Ready once the client has all that it is owed.
    pub(super) fn poll_tell(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { talk, client, .. } = self;
        talk.to_client.poll_drain(context, client)
    }

    /// From the client. Ready once something has passed.
    fn poll_up(
        &mut self,
        context: &mut Context<'_>,
        mut line: Option<&mut Line>,
    ) -> Poll<Result<(), Event>> {
        if let Some(line) = line.as_deref_mut() {
            let drained = line.to_node.poll_drain(context, &mut line.leg);
            ready!(drained).map_err(|error| Event::NodeGone(Some(error)))?;
        }
        if self.put_off.is_some() {
            return Poll::Pending;
        }
        if self.up.has_finished && !self.has_news {
            return self.poll_finish(context, line);
        }
        if !self.talk.may_say_more() {
            return Poll::Pending;
        }
        if self.life.context().names.turn() != self.gate_turn {
            self.renew();
        }
        let Self { talk, client, .. } = self;
        let gear = &self.life.context().gear;
        let has_node = line.is_some();
        let mut stop = None;
        let take = |context: &mut Context<'_>, framer: &mut _, bytes: &[u8]| {
            let (done, why) = talk.take_up(context, line, framer, bytes);
            stop = why;
            done
        };
        let read = match std::mem::take(&mut self.has_news) {
            true => self.up.go_on(context, gear, take).map(|()| 1),
            false => {
                let was_framed = self.talk_has_begun;
                let read = ready!(self.up.poll_read(context, gear, client, take));
                // Until its first message is whole, its bytes win it no time.
                if was_framed {
                    self.life.seat.mark_asked();
                }
                read
            }
        };
        if !self.talk_has_begun && self.talk.has_framed() {
            self.talk_has_begun = true;
            let config = &self.life.policy().listener.config;
            self.life.seat.arm(config.idle_timeout);
        }
        Poll::Ready(match (read, stop) {
            (Err(error), _) => Err(Event::ClientGone(Some(error))),
            (Ok(_), Some(Stop::Failed(error))) => Err(Event::NodeGone(Some(error))),
            (Ok(_), Some(stop)) => Err(Event::Stopped(stop)),
            (Ok(0), None) if has_node => {
                let config = &self.life.policy().listener.config;
                self.life.seat.arm(Some(config.fin_timeout));
                Ok(())
            }
            (Ok(0), None) => Err(Event::ClientGone(None)),
            (Ok(_), None) => Ok(()),
        })
    }

    /// The client has finished, and the node is told.
    fn poll_finish(
        &self,
        context: &mut Context<'_>,
        line: Option<&mut Line>,
    ) -> Poll<Result<(), Event>> {
        let Some(line) = line else {
            return Poll::Ready(Err(Event::ClientGone(None)));
        };
        if !line.is_finished {
            let finished = ready!(line.leg.poll_finish(context));
            finished.map_err(|error| Event::NodeGone(Some(error)))?;
            line.is_finished = true;
        }
        Poll::Pending
    }

    /// From the node, to a client that is owed nothing. Ready once something has passed.
    fn poll_down(&mut self, context: &mut Context<'_>, line: &mut Line) -> Poll<Result<(), Event>> {
        let Self { talk, client, .. } = self;
        let Line {
            leg,
            endpoint,
            down,
            unsettled,
            ..
        } = line;
        let (life, turn, hold) = (self.life, self.turn, &mut self.hold);
        let is_settled = unsettled.is_none();
        let mut stop = None;
        let take = |context: &mut Context<'_>, framer: &mut _, bytes: &[u8]| {
            // The client gets nothing before its pin stands.
            if let Some((placing, choice)) = unsettled.take() {
                *hold = life.settle(&placing, &choice, endpoint, turn);
            }
            let (done, why) = talk.take_down(context, client, framer, bytes);
            stop = why;
            done
        };
        let read = ready!(down.poll_read(context, &life.context().gear, leg, take));
        if let Ok(count @ 1..) = read {
            line.has_spoken = true;
            life.seat.mark_heard();
            life.account.meter(endpoint).came_down(count as u64);
            if !is_settled {
                // It may have been named by that.
                self.renew();
            }
        }
        Poll::Ready(match (read, stop) {
            (Err(error), _) => Err(Event::NodeGone(Some(error))),
            (Ok(0), _) => Err(Event::NodeGone(None)),
            (Ok(_), Some(Stop::Failed(error))) => Err(Event::ClientGone(Some(error))),
            (Ok(_), Some(stop)) => Err(Event::Stopped(stop)),
            (Ok(_), None) => Ok(()),
        })
    }
}

/// Polls `turn` as long as something passes by it, but not for ever: a peer that never stops must keep neither the
/// other sessions of the worker waiting, nor what interrupts its own.
fn take_turns(
    context: &mut Context<'_>,
    mut turn: impl FnMut(&mut Context<'_>) -> Poll<Result<(), Event>>,
) -> Poll<Event> {
    for _ in 0..READS {
        if let Err(event) = ready!(turn(context)) {
            return Poll::Ready(event);
        }
    }
    give_way(context);
    Poll::Pending
}

/// Reads of each side before others have their turn: each may bring thousands of messages.
const READS: usize = 4;

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::Write;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use std::task::Waker;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_peer_that_never_stops_keeps_nobody_else_waiting() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let near = tokio::net::TcpStream::connect(listener.local_addr().unwrap());
        let near = near.await.unwrap();
        listener.accept().unwrap().0.write_all(b"x").unwrap();
        let reads = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&reads);
        // Tasks of their own, as sessions are.
        let flood = tokio::spawn(poll_fn(move |context| {
            take_turns(context, |_| {
                let is_endless = counted.fetch_add(1, Relaxed) > 1000;
                Poll::Ready(match is_endless {
                    true => Err(Event::ClientGone(None)),
                    false => Ok(()),
                })
            })
        }));
        let other = tokio::spawn(async move { near.readable().await });
        other.await.unwrap().unwrap();
        // Of 64 KiB at most: no more than two turns of a session whose bytes nobody looks at.
        let before = reads.load(Relaxed);
        assert!(before <= 32, "{before} reads");
        let goes_on = tokio::time::timeout(Duration::from_secs(10), flood).await;
        assert!(goes_on.is_ok(), "it has its turn again");
    }

    #[test]
    fn nothing_more_is_looked_at_once_nothing_passes_or_something_has_happened() {
        let mut context = Context::from_waker(Waker::noop());
        for (last, is_over) in [
            (Poll::Pending, false),
            (Poll::Ready(Err(Event::NodeGone(None))), true),
        ] {
            let mut turns = vec![last, Poll::Ready(Ok(()))];
            let polled = take_turns(&mut context, |_| turns.pop().unwrap());
            assert_eq!(polled.is_ready(), is_over);
            assert!(turns.is_empty());
        }
    }
}
