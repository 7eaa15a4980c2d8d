use std::cell::RefCell;
use std::future::pending;
use std::rc::Rc;

use super::*;

fn at(millis: u64) -> Moment {
    Moment::from_micros(millis * 1000)
}

/// A partner of this name.
pub(in crate::relay) fn known(name: &str) -> Arc<Known> {
    let text = format!(
        "version = 1\n[[pool]]\nname = \"edge\"\n[[pool.node]]\nname = \"edge1\"\naddress = \"198.51.100.1\"\n\
         [[listener]]\nname = \"federation\"\nbind = \"203.0.113.10:5061\"\nservice = \"federation\"\n\
         pool = \"edge\"\n[[partner]]\nname = \"{name}\"\naddresses = [\"192.0.2.1\"]\n"
    );
    let partners = crate::config::parse("a", &text).unwrap().config.partners;
    let table = crate::partner::table::PartnerTable::new(&partners);
    Arc::clone(table.by_name(name).unwrap())
}

fn sessions() -> Rc<Sessions> {
    Rc::new(Sessions::new(at(0)))
}

/// Ticks as a worker does, and tells whether the session was interrupted by then.
fn interrupted_by(sessions: &Sessions, session: &Session, from: u64, to: u64) -> Option<u64> {
    (from..=to).step_by(50).find(|&millis| {
        sessions.tick(at(millis));
        session.interrupt.get().is_some()
    })
}

#[test]
fn a_deadline_interrupts_no_earlier_and_at_most_two_ticks_later() {
    for limit in [1, 49, 50, 999, 12_799, 12_800, 60_000] {
        let sessions = sessions();
        let seat = sessions.admit(1);
        seat.arm(Some(Duration::from_millis(limit)));
        let found = interrupted_by(&sessions, &seat, 0, 100_000).expect("a deadline fires");
        assert!(
            (limit..=limit + 100).contains(&found),
            "limit {limit}, fired at {found}"
        );
    }
}

#[test]
fn bytes_put_the_deadline_off() {
    let sessions = sessions();
    let seat = sessions.admit(1);
    seat.arm(Some(Duration::from_secs(1)));
    assert_eq!(interrupted_by(&sessions, &seat, 0, 900), None);
    seat.touch(at(900));
    assert_eq!(interrupted_by(&sessions, &seat, 900, 1850), None);
    assert!(interrupted_by(&sessions, &seat, 1850, 2100).is_some());
}

#[test]
fn a_shorter_phase_overtakes_a_longer_one() {
    let sessions = sessions();
    let seat = sessions.admit(1);
    seat.arm(Some(Duration::from_secs(7200)));
    seat.arm(Some(Duration::from_millis(200)));
    assert!(interrupted_by(&sessions, &seat, 0, 400).is_some());
}

#[test]
fn a_phase_without_a_limit_never_ends_by_itself() {
    let sessions = sessions();
    let seat = sessions.admit(1);
    seat.arm(Some(Duration::from_millis(200)));
    seat.arm(None);
    assert_eq!(interrupted_by(&sessions, &seat, 0, 30_000), None);
}

#[test]
fn a_session_learns_once_that_it_has_lasted_when_the_wheel_first_comes_by() {
    let sessions = sessions();
    let seat = sessions.admit(1);
    seat.arm(Some(Duration::from_secs(10)));
    seat.arm(Some(Duration::from_secs(1)));
    seat.arm(Some(Duration::from_secs(7200)));
    let told = (0..=20_000).step_by(50).filter(|&millis| {
        sessions.tick(at(millis));
        seat.has_just_lasted()
    });
    let told: Vec<_> = told.collect();
    assert!(matches!(told[..], [1000..=1100]), "{told:?}");
}

#[test]
fn a_deadline_that_a_stronger_interrupt_swallowed_comes_again() {
    let sessions = sessions();
    let seat = sessions.admit(1);
    seat.arm(Some(Duration::from_millis(200)));
    sessions.tick(at(300));
    seat.interrupt(Interrupt::NodeDown);
    assert_eq!(seat.interrupt.take(), Some(Interrupt::NodeDown));
    seat.go_on_regardless();
    assert!(interrupted_by(&sessions, &seat, 350, 500).is_some());
    assert_eq!(seat.interrupt.get(), Some(Interrupt::Deadline));
}

#[test]
fn a_left_seat_is_used_again_and_old_timers_do_not_hit_the_newcomer() {
    let sessions = sessions();
    let old = sessions.admit(1);
    old.arm(Some(Duration::from_millis(100)));
    drop(old);
    assert!(sessions.is_empty());
    let newcomer = sessions.admit(1);
    assert_eq!(sessions.len(), 1);
    assert_eq!(interrupted_by(&sessions, &newcomer, 0, 5000), None);
}

#[tokio::test]
async fn an_interrupt_ends_a_wait_and_is_consumed_by_it() {
    let sessions = sessions();
    let seat = sessions.admit(1);
    seat.bind(7);
    seat.interrupt(Interrupt::NodeDown);
    assert_eq!(seat.guard(pending::<()>()).await, Err(Interrupt::NodeDown));
    assert_eq!(seat.guard(async { 5 }).await, Ok(5));
}

#[tokio::test]
async fn what_becomes_of_a_node_that_was_tried_before_ends_no_wait_for_another() {
    use Interrupt::{Deadline, Disabled, Drained, ListenerRemoved, NodeDown, NodeRemoved, Stopped};
    let sessions = sessions();
    let seat = sessions.admit(1);
    for interrupt in [NodeDown, Drained, Disabled, NodeRemoved] {
        seat.interrupt(interrupt);
        assert_eq!(seat.guard_without_node(async { 5 }).await, Ok(5));
    }
    for interrupt in [Deadline, ListenerRemoved, Stopped] {
        seat.interrupt(interrupt);
        let ended = seat.guard_without_node(pending::<()>()).await;
        assert_eq!(ended, Err(interrupt));
    }
}

#[test]
fn a_cut_reaches_exactly_the_sessions_of_the_endpoint() {
    let sessions = sessions();
    let seats: Vec<_> = (0..10).map(|_| sessions.admit(1)).collect();
    for (number, seat) in seats.iter().enumerate() {
        seat.bind(if number < 4 { 1 } else { 2 });
    }
    let cut = sessions.interrupt(Interrupt::NodeDown, |session| session.endpoint() == 1);
    assert_eq!(cut.sessions, 4);
    for (number, seat) in seats.iter().enumerate() {
        assert_eq!(seat.interrupt.get().is_some(), number < 4);
    }
}

#[test]
fn a_client_goes_without_its_node_since_the_first_thing_it_missed() {
    let second = |seconds: u64| at(seconds * 1000);
    let cut_off = |heard: Moment, asked: Moment, ended: Moment| {
        let seat = sessions().admit(1);
        seat.heard_at.set(heard);
        seat.asked_at.set(asked);
        seat.cut_off_since(ended)
    };
    let (heard, soon) = (second(10), at(10_005));
    assert_eq!(cut_off(heard, soon, at(10_700)), heard, "they were talking");
    assert_eq!(
        cut_off(heard, second(9), at(10_005)),
        heard,
        "and this was the end"
    );
    assert_eq!(
        cut_off(heard, second(3600), second(3601)),
        second(3600),
        "asked after an hour"
    );
    assert_eq!(
        cut_off(heard, second(9), second(3600)),
        second(3600),
        "idle to the end"
    );
}

#[test]
fn partners_and_who_looks_like_one_are_interrupted_before_the_others() {
    let sessions = Rc::new(Sessions::new(Moment::START));
    let seats: Vec<_> = (0..4).map(|_| sessions.admit(1)).collect();
    seats[2].mark_partner(&known("fabrikam"));
    seats[3].mark_legacy();
    let order = RefCell::new(Vec::new());
    let count = sessions.interrupt(Interrupt::NodeDown, |session| {
        let mut places = seats.iter();
        order
            .borrow_mut()
            .extend(places.position(|seat| std::ptr::eq(&**seat, session)));
        true
    });
    assert_eq!(count.sessions, 4);
    assert_eq!(order.into_inner(), [2, 3, 0, 1]);
}

#[test]
fn a_few_sessions_are_ended_at_a_time_partners_first_and_none_twice() {
    let sessions = Rc::new(Sessions::new(Moment::START));
    let seats: Vec<_> = (0..5).map(|_| sessions.admit(1)).collect();
    seats[3].mark_partner(&known("fabrikam"));
    for seat in &seats {
        seat.bind(7);
    }
    seats[4].bind(8);
    let is_there = |session: &Session| session.endpoint() == 7;
    let thin = |most| sessions.thin(Interrupt::Drained, most, is_there).sessions;
    assert_eq!(thin(0), 0);
    assert_eq!(thin(1), 1);
    let is_ended = |seat: &Seat| seat.interrupt.get() == Some(Interrupt::Drained);
    assert!(is_ended(&seats[3]), "the partner");
    assert_eq!(thin(2), 2, "others than before");
    assert_eq!(thin(9), 1, "and no more than there are");
    assert!(!is_ended(&seats[4]), "who is elsewhere stays");
}

#[test]
fn who_goes_on_with_another_node_is_told_from_who_ends() {
    let sessions = Rc::new(Sessions::new(Moment::START));
    let seats: Vec<_> = (0..4).map(|_| sessions.admit(1)).collect();
    seats[1].mark_rehoming(true);
    seats[2].mark_rehoming(true);
    seats[2].mark_rehoming(false);
    let one_of_four = Concerned {
        sessions: 4,
        sip: 1,
    };
    assert_eq!(sessions.count(|_| true), one_of_four);
    assert_eq!(sessions.thin(Interrupt::Drained, 9, |_| true), one_of_four);
    let moved = sessions.interrupt(Interrupt::Moved, |_| true);
    assert_eq!((moved, moved.ending()), (one_of_four, 3));
    let both = moved + moved;
    assert_eq!((both.sessions, both.sip, both.ending()), (8, 2, 6));
}
