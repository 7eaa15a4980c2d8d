use std::cell::RefCell;
use std::time::Duration;

use super::*;
use crate::clock::Moment;
use crate::config::model::{ProbeKind, ProxySend};
use crate::inspect::stun::Method;
use crate::pool::health::{Event, ProbeFailure};
use crate::probe::ask;

const ELSEWHERE: &[u8] = &[0, 1, 0x0d, 0x96, 198, 51, 100, 31];

/// Asks as a probe does; what was told, and what was shown.
async fn events(address: SocketAddr, source: Option<IpAddr>) -> (Vec<Event>, Shown) {
    let told = RefCell::new(Vec::new());
    let question = Question {
        source,
        ..question()
    };
    let tell = |event| told.borrow_mut().push(event);
    let shown = ask(question, NodeAddr::new(address), Moment::now(), tell).await;
    (told.into_inner(), shown)
}

/// A message of this class to the question that `asked` is, with these attributes.
fn answer_to(asked: &[u8], class: u16, attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let question = Message::read(asked).expect("a question");
    assert_eq!(question.method, Method::Allocate);
    assert_eq!(question.class, Class::Request);
    let mut body = Vec::new();
    if question.dialect == Dialect::Microsoft {
        body.extend([0, 0x0F, 0, 4, 0x72, 0xC6, 0x4B, 0xC6]);
    }
    for (kind, value) in attributes {
        body.extend(kind.to_be_bytes());
        body.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
        body.extend(*value);
        if question.dialect == Dialect::Rfc {
            body.resize(body.len().next_multiple_of(4), 0);
        }
    }
    let length = u16::try_from(body.len()).unwrap();
    let head = [(3 | class).to_be_bytes(), length.to_be_bytes()].concat();
    [&head, &question.transaction[..], &body].concat()
}

fn refusal(asked: &[u8], code: u16) -> Vec<u8> {
    answer_to(asked, ERROR, &[(0x0009, &value_of(code))])
}

fn value_of(code: u16) -> Vec<u8> {
    let [hundreds, rest] = [code / 100, code % 100].map(|part| u8::try_from(part).unwrap());
    [&[0, 0, hundreds, rest][..], b"because"].concat()
}

fn dialect(asked: &[u8]) -> Dialect {
    Message::read(asked).expect("a question").dialect
}

/// Asks a server that answers each datagram as `answer` says.
async fn asking(answer: impl Fn(&[u8]) -> Vec<Vec<u8>>) -> (Vec<Event>, Shown) {
    let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr().unwrap();
    tokio::select! {
        () = serve(&server, answer) => unreachable!("it serves for ever"),
        outcome = events(address, None) => outcome,
    }
}

async fn serve(server: &UdpSocket, answer: impl Fn(&[u8]) -> Vec<Vec<u8>>) {
    let mut room = [0; 2048];
    loop {
        let (length, from) = server.recv_from(&mut room).await.unwrap();
        for datagram in answer(&room[..length]) {
            server.send_to(&datagram, from).await.unwrap();
        }
    }
}

/// Asks one that answers only what `speaks` does.
async fn speaking(speaks: Dialect, answer: impl Fn(&[u8]) -> Vec<u8>) -> (Vec<Event>, Shown) {
    asking(|asked| match dialect(asked) == speaks {
        true => vec![answer(asked)],
        false => Vec::new(),
    })
    .await
}

#[track_caller]
fn assert_good(told: &[Event]) {
    assert!(matches!(told, [Event::ProbeGood { .. }]), "{told:?}");
}

#[tokio::test]
async fn a_server_of_either_dialect_that_asks_who_we_are_lives() {
    for speaks in [Dialect::Rfc, Dialect::Microsoft] {
        let (told, shown) = speaking(speaks, |asked| refusal(asked, 401)).await;
        assert_good(&told);
        let turn = shown.turn.unwrap();
        assert!(turn.is_expected(), "{turn:?}");
        assert_eq!(turn.alternate, None);
    }
}

#[tokio::test]
async fn where_it_sends_its_clients_is_read_in_either_dialect() {
    for (speaks, kind) in [(Dialect::Rfc, 0x8023_u16), (Dialect::Microsoft, 0x000E)] {
        let answer = |asked: &[u8]| {
            let code = value_of(401);
            answer_to(asked, ERROR, &[(9, &code), (kind, ELSEWHERE)])
        };
        let (told, shown) = speaking(speaks, answer).await;
        assert_good(&told);
        let there = "198.51.100.31:3478".parse().unwrap();
        assert_eq!(shown.turn.unwrap().alternate, Some(there));
    }
}

#[tokio::test]
async fn another_answer_to_our_question_is_a_sign_of_life_too_and_is_told_as_it_is() {
    for code in [300, 400, 486, 508] {
        let answer = |asked: &[u8]| vec![refusal(asked, code)];
        let (told, shown) = asking(answer).await;
        assert_good(&told);
        assert_eq!(shown.turn.unwrap().code, Some(code));
    }
    let (told, shown) = asking(|asked| vec![answer_to(asked, SUCCESS, &[])]).await;
    assert_good(&told);
    assert_eq!(shown.turn.unwrap().code, None, "it relays for anybody");
}

#[tokio::test]
async fn a_server_that_does_not_understand_one_dialect_is_known_by_the_other() {
    for speaks in [Dialect::Rfc, Dialect::Microsoft] {
        let (told, shown) = asking(|asked| {
            let code = if dialect(asked) == speaks { 401 } else { 400 };
            vec![refusal(asked, code)]
        })
        .await;
        assert_good(&told);
        assert!(shown.turn.unwrap().is_expected(), "{speaks:?}");
    }
}

#[tokio::test]
async fn what_answers_nothing_of_ours_is_silence() {
    fn foreign(asked: &[u8]) -> Vec<u8> {
        let mut answer = refusal(asked, 401);
        answer[19] ^= 1;
        answer
    }
    fn garbage(_: &[u8]) -> Vec<u8> {
        b"220 smtp".to_vec()
    }
    fn echo(asked: &[u8]) -> Vec<u8> {
        asked.to_vec()
    }
    fn without_code(asked: &[u8]) -> Vec<u8> {
        answer_to(asked, ERROR, &[])
    }
    fn cut(asked: &[u8]) -> Vec<u8> {
        let mut answer = refusal(asked, 401);
        answer.pop();
        answer
    }
    fn too_long(asked: &[u8]) -> Vec<u8> {
        let code = value_of(401);
        answer_to(asked, ERROR, &[(9, &code), (0x8022, &[b'x'; 4000])])
    }
    for answer in [foreign, garbage, echo, without_code, cut, too_long] {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = server.local_addr().unwrap();
        let question = Question {
            patience: Duration::ZERO,
            ..question()
        };
        let told = RefCell::new(Vec::new());
        let tell = |event| told.borrow_mut().push(event);
        let shown = tokio::select! {
            () = serve(&server, |asked| vec![answer(asked)]) => unreachable!("it serves for ever"),
            shown = ask(question, NodeAddr::new(address), Moment::now(), tell) => shown,
        };
        assert_failed(&told.into_inner(), ProbeFailure::TimedOut);
        assert_eq!(shown.turn, None);
    }
}

#[tokio::test]
async fn a_flood_of_nonsense_ends_the_reading_and_is_silence() {
    let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr().unwrap();
    let asked = async {
        let question = Question {
            timeout: Duration::from_secs(60),
            ..question()
        };
        answer(&question, NodeAddr::new(address)).await.err()
    };
    let flood = async {
        let (_, from) = server.recv_from(&mut [0; 2048]).await.unwrap();
        loop {
            let _ = server.send_to(b"nonsense", from).await;
            tokio::task::yield_now().await;
        }
    };
    let error = tokio::select! {
        error = asked => error.expect("no answer was among it"),
        () = flood => unreachable!("it floods for ever"),
    };
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
}

#[tokio::test]
async fn a_lost_datagram_is_asked_again_in_time() {
    let heard = RefCell::new(0);
    let (told, _) = asking(|asked| {
        *heard.borrow_mut() += 1;
        // The first question in each dialect is lost.
        match *heard.borrow() > 2 {
            true => vec![refusal(asked, 401)],
            false => Vec::new(),
        }
    })
    .await;
    assert!(
        matches!(told.last(), Some(Event::ProbeGood { .. })),
        "{told:?}"
    );
    assert_eq!(*heard.borrow(), 4, "twice in each dialect, and no more");
}

#[tokio::test]
async fn a_late_answer_is_told_as_failed_and_then_as_good() {
    let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr().unwrap();
    let (told, failed) = (RefCell::new(Vec::new()), tokio::sync::Notify::new());
    let tell = |event| {
        told.borrow_mut().push(event);
        failed.notify_one();
    };
    let late = async {
        let mut room = [0; 2048];
        let (length, from) = server.recv_from(&mut room).await.unwrap();
        failed.notified().await;
        let answer = refusal(&room[..length], 401);
        server.send_to(&answer, from).await.unwrap();
    };
    let asked = ask(question(), NodeAddr::new(address), Moment::now(), tell);
    tokio::join!(asked, late);
    let told = told.into_inner();
    assert_failed(&told[..1], ProbeFailure::TimedOut);
    assert_good(&told[1..]);
}

#[tokio::test]
async fn a_closed_port_refuses_at_once() {
    for any in ["127.0.0.1:0", "[::1]:0"] {
        let Ok(closed) = UdpSocket::bind(any).await else {
            continue;
        };
        let address = closed.local_addr().unwrap();
        drop(closed);
        // Sooner than the timeout, which is a day.
        let question = Question {
            timeout: Duration::from_secs(24 * 3600),
            ..question()
        };
        let told = RefCell::new(Vec::new());
        let tell = |event| told.borrow_mut().push(event);
        let shown = ask(question, NodeAddr::new(address), Moment::now(), tell).await;
        assert_failed(&told.into_inner(), ProbeFailure::Refused);
        assert_eq!(shown.error, Some(io::ErrorKind::ConnectionRefused));
    }
}

#[tokio::test]
async fn a_port_that_closes_while_it_is_asked_refuses_at_once() {
    let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr().unwrap();
    let mut conversation = Conversation::open(None, NodeAddr::new(address)).unwrap();
    conversation.ask().await.unwrap();
    // Nobody reads what has come, and a datagram that comes later meets a closed port.
    let hears = async { conversation.hear().await.unwrap_err() };
    let closes = async {
        let mut room = [0; 2048];
        for _ in 0..2 {
            server.recv_from(&mut room).await.unwrap();
        }
    };
    tokio::select! {
        biased;
        error = hears => panic!("{error}"),
        () = closes => {}
    }
    drop(server);
    let refused = async {
        // The first of the two is refused, which the second may tell already.
        conversation.ask().await?;
        conversation.hear().await
    };
    let error = refused.await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn the_source_of_the_pool_is_what_the_node_sees() {
    let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr().unwrap();
    let own: IpAddr = "127.0.0.6".parse().unwrap();
    let sees = async {
        let mut room = [0; 2048];
        let (length, from) = server.recv_from(&mut room).await.unwrap();
        assert_eq!(from.ip(), own);
        let answer = refusal(&room[..length], 401);
        server.send_to(&answer, from).await.unwrap();
    };
    let ((told, _), ()) = tokio::join!(events(address, Some(own)), sees);
    assert_good(&told);
}

#[tokio::test]
async fn a_source_that_is_elsewhere_is_our_own_fault() {
    let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    // 203.0.113.0/24 is for documentation: no machine has it.
    let elsewhere = "203.0.113.201".parse().unwrap();
    let (told, _) = events(server.local_addr().unwrap(), Some(elsewhere)).await;
    assert!(matches!(told[..], [Event::ProbeVoid { .. }]), "{told:?}");
}

#[track_caller]
fn assert_failed(told: &[Event], expected: ProbeFailure) {
    assert!(
        matches!(told, [Event::ProbeFailed { how, .. }] if *how == expected),
        "{told:?}"
    );
}

fn question() -> Question {
    Question {
        kind: ProbeKind::TurnAllocate,
        http: None,
        tls: None,
        timeout: Duration::from_millis(200),
        patience: Duration::from_secs(10),
        proxy_protocol: ProxySend::Off,
        source: None,
    }
}

const ERROR: u16 = 0x0110;
const SUCCESS: u16 = 0x0100;
