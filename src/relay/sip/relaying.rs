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
        for _ in 0..READS {
            if !self.talk.has_deferred()
                && let Some(stop) = self.put_off.take()
            {
                return Poll::Ready(Event::Stopped(stop));
            }
            let told = self.poll_tell(context);
            if let Poll::Ready(Err(error)) = told {
                return Poll::Ready(Event::ClientGone(Some(error)));
            }
            let up = self.poll_up(context, line.as_deref_mut());
            if let Poll::Ready(Err(event)) = up {
                return Poll::Ready(event);
            }
            let down = match line.as_deref_mut().filter(|_| told.is_ready()) {
                Some(line) => self.poll_down(context, line),
                None => Poll::Pending,
            };
            if let Poll::Ready(Err(event)) = down {
                return Poll::Ready(event);
            }
            if up.is_pending() && down.is_pending() {
                return Poll::Pending;
            }
        }
        give_way(context);
        Poll::Pending
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

/// Reads of each side before others have their turn: each may bring thousands of messages.
const READS: usize = 4;
