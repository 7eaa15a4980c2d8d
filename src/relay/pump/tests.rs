use std::cell::Cell;
use std::task::ready;

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::super::session::Sessions;
use super::*;
use crate::clock::Moment;
use crate::net::wire::{self, Waiting};

const PATIENCE: Duration = Duration::from_secs(20);
const FIN_TIMEOUT: Duration = Duration::from_secs(30);
const SHORT_FIN_TIMEOUT: Duration = Duration::from_millis(100);

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    (near, listener.accept().await.unwrap().0)
}

fn nothing_first() -> FirstBytes {
    FirstBytes {
        bytes: Vec::new(),
        finished: false,
    }
}

#[test]
fn the_buffer_begins_where_no_copy_of_it_into_a_record_is_slow() {
    let gear = Gear::new(0, 0);
    gear.with_buffer(|buffer| {
        assert_eq!(buffer.as_ptr().addr() % PAGE, LEAD);
        assert_eq!(buffer.len(), BUFFER_SIZE);
    });
}

struct World {
    gear: Gear,
    sessions: Rc<Sessions>,
    client: TcpStream,
    node: TcpStream,
    legs: (TcpStream, TcpStream),
}

async fn world(gear: Gear) -> World {
    let (client, client_leg) = pair().await;
    let (node, node_leg) = pair().await;
    let sessions = Rc::new(Sessions::new(Moment::START));
    World {
        gear,
        sessions,
        client,
        node,
        legs: (client_leg, node_leg),
    }
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length)
        .map(|index| (index.wrapping_mul(31) >> 3).to_le_bytes()[0])
        .collect()
}

/// How the session ends; its connections close with it.
async fn end_of<M: Meter>(mut pump: Pump<'_, M>) -> End {
    pump.until_ended().await
}

/// Sends both ways at once through a pump, in chunks, and checks that every byte arrives.
async fn exchange(gear: Gear, up: Vec<u8>, down: Vec<u8>, chunk: usize) {
    let World {
        gear,
        sessions,
        client,
        node,
        legs,
    } = world(gear).await;
    let seat = sessions.admit(1);
    let pump = Pump::new(&gear, &seat, (), legs, nothing_first(), 0, &FIN_TIMEOUT);
    let peer = async |stream: TcpStream, send: &[u8], expect: &[u8]| {
        let (mut read, mut write) = stream.into_split();
        let sending = async {
            for part in send.chunks(chunk) {
                write.write_all(part).await.unwrap();
            }
            write.shutdown().await.unwrap();
        };
        let receiving = async {
            let mut received = Vec::new();
            read.read_to_end(&mut received).await.unwrap();
            assert!(
                received == expect,
                "{} of {} bytes",
                received.len(),
                expect.len()
            );
        };
        tokio::join!(sending, receiving);
    };
    let (end, (), ()) = timeout(PATIENCE, async {
        tokio::join!(
            end_of(pump),
            peer(client, &up, &down),
            peer(node, &down, &up)
        )
    })
    .await
    .expect("the exchange ends");
    assert!(matches!(end, End::Closed(_)), "{end:?}");
    assert_eq!(gear.memory.used(), 0);
    assert_eq!(gear.pipes.lent(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn bytes_in_are_bytes_out_for_any_sizes_and_chopping(
        up in 0usize..600_000,
        down in 0usize..600_000,
        chunk in 1usize..200_000,
        memory in prop_oneof![Just(0usize), Just(1 << 20)],
        pipes in 0usize..3,
    ) {
        let chunk = chunk.max((up + down) / 2_000 + 1);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(exchange(Gear::new(memory, pipes), pattern(up), pattern(down), chunk));
    }
}

#[tokio::test]
async fn bulk_is_promoted_to_splicing_and_idle_gives_the_pipe_back() {
    let World {
        gear,
        sessions,
        mut client,
        mut node,
        legs,
    } = world(Gear::new(1 << 20, 4)).await;
    let seat = sessions.admit(1);
    let mut pump = Pump::new(&gear, &seat, (), legs, nothing_first(), 0, &FIN_TIMEOUT);
    let bytes = pattern(4 << 20);
    let traffic = async {
        let mut received = vec![0; bytes.len()];
        tokio::join!(async { client.write_all(&bytes).await.unwrap() }, async {
            node.read_exact(&mut received).await.unwrap();
        });
        assert!(received == bytes);
        // The pump has been polled to rest once the far end has everything and answers.
        node.write_all(b"done").await.unwrap();
        client.read_exact(&mut [0; 4]).await.unwrap();
    };
    tokio::select! {
        end = pump.until_ended() => panic!("ended: {end:?}"),
        () = async { timeout(PATIENCE, traffic).await.unwrap() } => {}
    }
    assert_eq!(gear.pipes.lent(), 0, "an idle direction holds no pipe");
    assert_eq!(gear.memory.used(), 0, "an idle direction holds no memory");
    assert!(gear.pipes.has_warm(), "the bulk went through a pipe");
}

#[tokio::test]
async fn a_half_close_passes_through_and_the_other_way_stays_open() {
    let World {
        gear,
        sessions,
        mut client,
        mut node,
        legs,
    } = world(Gear::new(1 << 20, 0)).await;
    let seat = sessions.admit(1);
    let pump = Pump::new(&gear, &seat, (), legs, nothing_first(), 0, &FIN_TIMEOUT);
    let traffic = async {
        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        let mut question = String::new();
        node.read_to_string(&mut question).await.unwrap();
        assert_eq!(question, "question");
        node.write_all(b"answer").await.unwrap();
        node.shutdown().await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "answer");
    };
    let (end, ()) = timeout(PATIENCE, async { tokio::join!(end_of(pump), traffic) })
        .await
        .unwrap();
    assert!(matches!(end, End::Closed(Side::Client)), "{end:?}");
}

#[tokio::test]
async fn a_half_open_session_ends_after_the_fin_timeout() {
    let World {
        gear,
        sessions,
        client,
        node: _node,
        legs,
    } = world(Gear::new(1 << 20, 0)).await;
    let seat = sessions.admit(1);
    let mut pump = Pump::new(
        &gear,
        &seat,
        (),
        legs,
        nothing_first(),
        0,
        &SHORT_FIN_TIMEOUT,
    );
    drop(client);
    let ticking = async {
        for tick in 1..400 {
            tokio::task::yield_now().await;
            sessions.tick(Moment::from_micros(tick * 50_000));
        }
    };
    let (end, ()) = timeout(PATIENCE, async {
        tokio::join!(pump.until_ended(), ticking)
    })
    .await
    .unwrap();
    assert!(
        matches!(
            end,
            End::Interrupted(Interrupt::Deadline, Some(Side::Client))
        ),
        "{end:?}"
    );
}

#[tokio::test]
async fn a_slow_reader_holds_no_more_than_one_buffer_and_stops_the_reading() {
    let World {
        gear,
        sessions,
        mut client,
        node: _node,
        legs,
    } = world(Gear::new(1 << 20, 0)).await;
    let seat = sessions.admit(1);
    let mut pump = Pump::new(&gear, &seat, (), legs, nothing_first(), 0, &FIN_TIMEOUT);
    let bytes = vec![1; 1 << 20];
    let flood = async {
        loop {
            if timeout(Duration::from_millis(300), client.write_all(&bytes))
                .await
                .is_err()
            {
                return;
            }
        }
    };
    tokio::select! {
        end = pump.until_ended() => panic!("ended: {end:?}"),
        () = async { timeout(PATIENCE, flood).await.unwrap() } => {}
    }
    assert!(gear.memory.used() > 0);
    assert!(gear.memory.used() <= BUFFER_SIZE);
}

/// A leg that keeps what it is given until it is flushed, as TLS does.
struct Keeping {
    stream: TcpStream,
    kept: Vec<u8>,
    most: Rc<Cell<usize>>,
}

impl Leg for Keeping {
    fn socket(&self) -> &TcpStream {
        &self.stream
    }

    fn is_plain(&self) -> bool {
        false
    }

    fn poll_read(
        &mut self,
        context: &mut TaskContext<'_>,
        buffer: &mut [u8],
        waiting: &mut Waiting,
    ) -> Poll<io::Result<usize>> {
        wire::poll_read(context, &self.stream, buffer, waiting)
    }

    fn poll_write(
        &mut self,
        context: &mut TaskContext<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.kept.extend_from_slice(bytes);
        if let Poll::Ready(Err(error)) = self.poll_flush(context) {
            return Poll::Ready(Err(error));
        }
        self.most.set(self.most.get().max(self.kept.len()));
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(&mut self, context: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        while !self.kept.is_empty() {
            let count = ready!(wire::poll_write(context, &self.stream, &self.kept))?;
            self.kept.drain(..count);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_finish(&mut self, context: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_flush(context))?;
        Poll::Ready(wire::finish(&self.stream))
    }
}

#[tokio::test]
async fn what_lies_encrypted_before_a_slow_reader_is_counted_and_little_without_memory() {
    for (memory, allowed) in [(1 << 20, BUFFER_SIZE), (0, 4096)] {
        let World {
            gear,
            sessions,
            mut client,
            mut node,
            legs: (client_leg, node_leg),
        } = world(Gear::new(memory, 0)).await;
        let most = Rc::<Cell<usize>>::default();
        let client_leg = Keeping {
            stream: client_leg,
            kept: Vec::new(),
            most: Rc::clone(&most),
        };
        let seat = sessions.admit(1);
        let legs = (client_leg, node_leg);
        let mut pump = Pump::new(&gear, &seat, (), legs, nothing_first(), 0, &FIN_TIMEOUT);
        let bytes = pattern(24 << 20);
        let mut sent = 0;
        let flood = async {
            while let Ok(count) =
                timeout(Duration::from_millis(300), node.write(&bytes[sent..])).await
            {
                sent += count.unwrap();
                assert!(
                    sent < bytes.len(),
                    "the buffers of the system take all of it"
                );
            }
        };
        tokio::select! {
            end = pump.until_ended() => panic!("ended: {end:?}"),
            () = async { timeout(PATIENCE, flood).await.unwrap() } => {}
        }
        // What it keeps now, and no more than that.
        assert!(gear.memory.used() > 0);
        assert!(gear.memory.used() >= pump.client.kept.len());
        assert!(most.get() <= allowed, "{} bytes with {memory}", most.get());

        let reading = async {
            let mut received = vec![0; sent];
            client.read_exact(&mut received).await.unwrap();
            assert!(received == bytes[..sent]);
        };
        tokio::select! {
            end = pump.until_ended() => panic!("ended: {end:?}"),
            () = async { timeout(PATIENCE, reading).await.unwrap() } => {}
        }
        assert_eq!(gear.memory.used(), 0);
    }
}

#[tokio::test]
async fn a_reset_is_told_with_its_side() {
    let World {
        gear,
        sessions,
        client: _client,
        node,
        legs,
    } = world(Gear::new(1 << 20, 0)).await;
    let seat = sessions.admit(1);
    let mut pump = Pump::new(&gear, &seat, (), legs, nothing_first(), 0, &FIN_TIMEOUT);
    crate::net::options::reset_on_close(&node);
    drop(node);
    let end = timeout(PATIENCE, pump.until_ended()).await.unwrap();
    assert!(matches!(end, End::Failed(Side::Node, _)), "{end:?}");
}

#[tokio::test]
async fn the_first_bytes_come_back_while_the_node_has_said_nothing() {
    let World {
        gear,
        sessions,
        mut client,
        node,
        legs,
    } = world(Gear::new(1 << 20, 0)).await;
    let seat = sessions.admit(1);
    let first = FirstBytes {
        bytes: b"hel".to_vec(),
        finished: false,
    };
    let mut pump = Pump::new(&gear, &seat, (), legs, first, 1024, &FIN_TIMEOUT);
    client.write_all(b"lo").await.unwrap();
    client.shutdown().await.unwrap();
    let dying = async {
        let mut node = node;
        node.read_exact(&mut [0; 5]).await.unwrap();
        drop(node);
    };
    let (end, ()) = timeout(PATIENCE, async {
        tokio::join!(pump.until_answered(), dying)
    })
    .await
    .unwrap();
    assert!(end.is_some(), "the node never answered");
    let (_, _, first) = pump.into_parts();
    let first = first.expect("kept in full");
    assert_eq!(
        (first.bytes.as_slice(), first.finished),
        (&b"hello"[..], true)
    );
}

#[tokio::test]
async fn what_a_node_says_first_waits_until_the_session_is_settled() {
    for memory in [0, 1 << 20] {
        let World {
            gear,
            sessions,
            mut client,
            mut node,
            legs,
        } = world(Gear::new(memory, 0)).await;
        let seat = sessions.admit(1);
        let mut pump = Pump::new(&gear, &seat, (), legs, nothing_first(), 0, &FIN_TIMEOUT);
        node.write_all(b"hi").await.unwrap();
        drop(node);
        let end = timeout(PATIENCE, pump.until_answered()).await.unwrap();
        assert!(end.is_none(), "{end:?}");
        let early = client.try_read(&mut [0; 2]).unwrap_err();
        assert_eq!(early.kind(), io::ErrorKind::WouldBlock);
        let reading = async {
            let mut received = Vec::new();
            client.read_to_end(&mut received).await.unwrap();
            assert_eq!(received, b"hi");
            drop(client);
        };
        let (end, ()) = timeout(PATIENCE, async {
            tokio::join!(pump.until_ended(), reading)
        })
        .await
        .unwrap();
        assert!(matches!(end, End::Closed(Side::Node)), "{end:?}");
        assert_eq!(gear.memory.used(), 0);
    }
}

#[tokio::test]
async fn an_answer_that_reaches_its_client_later_is_no_question() {
    let World {
        gear,
        sessions,
        mut client,
        mut node,
        legs,
    } = world(Gear::new(1 << 20, 0)).await;
    let seat = sessions.admit(1);
    let mut pump = Pump::new(&gear, &seat, (), legs, nothing_first(), 0, &FIN_TIMEOUT);
    node.write_all(b"hi").await.unwrap();
    let end = timeout(PATIENCE, pump.until_answered()).await.unwrap();
    assert!(end.is_none(), "{end:?}");
    let answered = Moment::now();
    while Moment::now() == answered {}
    let waits = || sessions.survey(|_| true).waits_since(0);
    let mut received = [0; 2];
    tokio::select! {
        end = pump.until_ended() => panic!("{end:?}"),
        read = client.read_exact(&mut received) => drop(read.unwrap()),
    }
    assert_eq!((&received, waits()), (b"hi", None));
    client.write_all(b"?").await.unwrap();
    tokio::select! {
        end = pump.until_ended() => panic!("{end:?}"),
        read = node.read_exact(&mut received[..1]) => drop(read.unwrap()),
    }
    assert!(waits().is_some(), "that is one");
}

#[tokio::test]
async fn first_bytes_are_forgotten_once_the_node_has_answered() {
    let World {
        gear,
        sessions,
        client,
        mut node,
        legs,
    } = world(Gear::new(1 << 20, 0)).await;
    let seat = sessions.admit(1);
    let first = FirstBytes {
        bytes: b"hello".to_vec(),
        finished: false,
    };
    let mut pump = Pump::new(&gear, &seat, (), legs, first, 1024, &FIN_TIMEOUT);
    node.write_all(b"hi").await.unwrap();
    let end = timeout(PATIENCE, pump.until_answered()).await.unwrap();
    assert!(end.is_none(), "{end:?}");
    drop(client);
    assert!(pump.into_parts().2.is_none());
}

#[tokio::test]
async fn first_bytes_that_are_too_many_are_not_kept_and_none_is_lost() {
    let World {
        gear,
        sessions,
        mut client,
        mut node,
        legs,
    } = world(Gear::new(1 << 20, 0)).await;
    let seat = sessions.admit(1);
    let first = FirstBytes {
        bytes: b"hello".to_vec(),
        finished: false,
    };
    let mut pump = Pump::new(&gear, &seat, (), legs, first, 1024, &FIN_TIMEOUT);
    let talking = async {
        client.write_all(&[7; 2000]).await.unwrap();
        let mut received = vec![0; 2005];
        node.read_exact(&mut received).await.unwrap();
        assert!(received.starts_with(b"hello\x07"));
        drop(node);
    };
    let (end, ()) = timeout(PATIENCE, async {
        tokio::join!(pump.until_answered(), talking)
    })
    .await
    .unwrap();
    assert!(matches!(end, Some(End::Failed(Side::Node, _))), "{end:?}");
    assert!(pump.into_parts().2.is_none());
}

/// Looks at what passes, until it has seen enough.
struct Looking {
    seen: RefCell<(Vec<u8>, Vec<u8>)>,
    enough: usize,
}

impl Meter for &Looking {
    fn sent_up(&self, _: u64) {}
    fn came_down(&self, _: u64) {}
    fn lasted(&self, _: &TcpStream) {}
    fn is_inspected(&self) -> bool {
        true
    }
    fn inspect(&self, _: &Seat, side: Side, bytes: &[u8]) -> bool {
        let mut seen = self.seen.borrow_mut();
        let seen = match side {
            Side::Client => &mut seen.0,
            Side::Node => &mut seen.1,
        };
        seen.extend_from_slice(bytes);
        seen.len() < self.enough
    }
}

#[tokio::test]
async fn what_is_inspected_is_seen_whole_and_in_order_and_then_spliced() {
    for (memory, enough) in [(1 << 20, 300_000), (0, 300_000), (1 << 20, usize::MAX)] {
        let World {
            gear,
            sessions,
            mut client,
            mut node,
            legs,
        } = world(Gear::new(memory, 4)).await;
        let seat = sessions.admit(1);
        let looking = Looking {
            seen: Default::default(),
            enough,
        };
        let pump = Pump::new(
            &gear,
            &seat,
            &looking,
            legs,
            nothing_first(),
            0,
            &FIN_TIMEOUT,
        );
        let (bytes, answer) = (pattern(2_000_000), pattern(1000));
        let talk = async {
            let mut heard = Vec::new();
            tokio::join!(
                async {
                    node.write_all(&bytes).await.unwrap();
                    node.shutdown().await.unwrap();
                },
                async {
                    client.write_all(&answer).await.unwrap();
                    client.read_to_end(&mut heard).await.unwrap();
                    client.shutdown().await.unwrap();
                },
            );
            assert!(heard == bytes);
        };
        let (end, ()) = timeout(PATIENCE, async { tokio::join!(end_of(pump), talk) })
            .await
            .expect("the exchange ends");
        assert!(matches!(end, End::Closed(_)), "{end:?}");
        let (up, down) = looking.seen.into_inner();
        assert_eq!(up, answer);
        assert!(down == bytes[..down.len()]);
        assert!(down.len() >= enough.min(bytes.len()), "{}", down.len());
        // What was enough ended it: nothing was looked at any more.
        assert!(enough == usize::MAX || down.len() < enough + 64 * 1024 + 1);
    }
}
