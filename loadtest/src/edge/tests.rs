use std::net::Ipv4Addr;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::*;
use crate::tls::TlsVersion;

const SOON: Duration = Duration::from_secs(5);
const QUIET: Duration = Duration::from_millis(60);

async fn edge() -> SimulatedEdge {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    SimulatedEdge::start("edge1", any).await.unwrap()
}

async fn connect(edge: &SimulatedEdge) -> BufReader<TcpStream> {
    BufReader::new(TcpStream::connect(edge.address()).await.unwrap())
}

async fn ask<S>(client: &mut BufReader<S>, line: &str) -> io::Result<String>
where
    S: tokio::io::AsyncRead + AsyncWrite + Unpin,
{
    client.write_all(format!("{line}\n").as_bytes()).await?;
    let mut answer = String::new();
    let count = timeout(SOON, client.read_line(&mut answer)).await??;
    if count == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(answer)
}

async fn wait_for_open(edge: &SimulatedEdge, open: u64) {
    let seen = async {
        while edge.counters().open != open {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(SOON, seen).await.unwrap();
}

#[tokio::test]
async fn lines_are_answered_with_the_name_and_counted() {
    let edge = edge().await;
    let mut client = connect(&edge).await;
    assert_eq!(ask(&mut client, "hello").await.unwrap(), "edge1 hello\n");
    assert_eq!(ask(&mut client, "again").await.unwrap(), "edge1 again\n");
    assert_eq!(
        edge.counters(),
        Counters {
            accepted: 1,
            open: 1,
            lines: 2
        }
    );
    drop(client);
    wait_for_open(&edge, 0).await;
}

#[tokio::test]
async fn bytes_close_and_reset_do_what_they_say() {
    let edge = edge().await;
    let mut client = connect(&edge).await;
    client.write_all(b"!bytes 100000\n!close\n").await.unwrap();
    let mut bytes = Vec::new();
    timeout(SOON, client.read_to_end(&mut bytes))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(bytes.len(), 100_000);

    let mut client = connect(&edge).await;
    let error = ask(&mut client, "!reset").await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn an_endless_line_is_cut_off() {
    let edge = edge().await;
    let mut client = connect(&edge).await;
    let flood = vec![b'x'; 256 * 1024];
    let _ = client.write_all(&flood).await;
    let mut bytes = Vec::new();
    let end = timeout(SOON, client.read_to_end(&mut bytes)).await.unwrap();
    assert!(end.is_err() && bytes.is_empty());
}

#[tokio::test]
async fn a_killed_node_resets_and_refuses_until_it_is_revived_on_its_port() {
    let edge = edge().await;
    let mut client = connect(&edge).await;
    ask(&mut client, "hello").await.unwrap();
    edge.kill().await;
    let error = client.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    let error = TcpStream::connect(edge.address()).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    assert_eq!(edge.counters().open, 0);

    edge.revive().await.unwrap();
    let mut client = connect(&edge).await;
    assert_eq!(ask(&mut client, "back").await.unwrap(), "edge1 back\n");
    edge.revive().await.unwrap();
}

#[tokio::test]
async fn a_frozen_node_is_silent_while_its_kernel_accepts_and_goes_on_after_the_thaw() {
    let edge = edge().await;
    let mut old = connect(&edge).await;
    ask(&mut old, "before").await.unwrap();
    edge.freeze();
    old.write_all(b"during\n").await.unwrap();
    let mut fresh = connect(&edge).await;
    fresh.write_all(b"new\n").await.unwrap();
    assert!(timeout(QUIET, old.read_u8()).await.is_err());
    assert!(timeout(QUIET, fresh.read_u8()).await.is_err());
    assert_eq!(edge.counters().accepted, 1);

    edge.thaw();
    for (client, expected) in [(&mut old, "edge1 during\n"), (&mut fresh, "edge1 new\n")] {
        let mut answer = String::new();
        timeout(SOON, client.read_line(&mut answer))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(answer, expected);
    }
}

#[tokio::test]
async fn a_frozen_node_can_be_killed() {
    let edge = edge().await;
    let mut client = connect(&edge).await;
    ask(&mut client, "before").await.unwrap();
    edge.freeze();
    timeout(SOON, edge.kill()).await.unwrap();
    edge.thaw();
    assert_eq!(
        client.read_u8().await.unwrap_err().kind(),
        io::ErrorKind::ConnectionReset
    );
    assert!(TcpStream::connect(edge.address()).await.is_err());
}

#[tokio::test]
async fn doomed_connections_die_before_their_first_byte_and_the_next_one_lives() {
    let edge = edge().await;
    edge.die_before_first_byte(2);
    for _ in 0..2 {
        let error = ask(&mut connect(&edge).await, "hello").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
    assert!(ask(&mut connect(&edge).await, "hello").await.is_ok());
}

#[tokio::test]
async fn a_slow_node_answers_late() {
    let edge = edge().await;
    edge.slow(QUIET);
    let asked = std::time::Instant::now();
    ask(&mut connect(&edge).await, "hello").await.unwrap();
    assert!(asked.elapsed() >= QUIET);
}

#[tokio::test]
async fn both_tls_versions_carry_the_same_protocol_until_tls_is_refused() {
    let edge = edge().await;
    for version in [TlsVersion::V1_2, TlsVersion::V1_3] {
        let connector = TlsConnector::from(tls::client_config(version).unwrap());
        let name = ServerName::try_from("sip.edge.test").unwrap();
        let stream = TcpStream::connect(edge.address()).await.unwrap();
        let stream = connector.connect(name.clone(), stream).await.unwrap();
        let mut client = BufReader::new(stream);
        assert_eq!(ask(&mut client, "secret").await.unwrap(), "edge1 secret\n");

        edge.refuse_tls(true);
        let stream = TcpStream::connect(edge.address()).await.unwrap();
        assert!(connector.connect(name, stream).await.is_err());
        assert!(ask(&mut connect(&edge).await, "plain").await.is_ok());
        edge.refuse_tls(false);
    }
}

/// A ClientHello of TLS 1.0 with one cipher suite and nothing else.
fn hello_of_tls_1_0() -> Vec<u8> {
    let mut body = vec![3, 1];
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0, 0x2f, 1, 0]);
    let length = u8::try_from(body.len()).unwrap();
    let mut record = vec![0x16, 3, 1, 0, length + 4, 1, 0, 0, length];
    record.extend(body);
    record
}

#[tokio::test]
async fn hellos_that_cannot_be_served_are_answered_by_an_alert() {
    let edge = edge().await;
    for hello in [
        hello_of_tls_1_0(),
        b"\x16\x03\x01\x00\x04\xff\x00\x00\x00".to_vec(),
    ] {
        let mut client = connect(&edge).await;
        client.write_all(&hello).await.unwrap();
        let mut record = [0; 7];
        timeout(SOON, client.read_exact(&mut record))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(
            (record[0], record[5]),
            (0x15, 2),
            "a fatal alert: {record:?}"
        );
    }
}

#[tokio::test]
async fn rubbish_harms_nobody() {
    let edge = edge().await;
    let mut random = fastrand::Rng::with_seed(7);
    for round in 0..40_u8 {
        let mut rubbish: Vec<u8> = (0..600).map(|_| random.u8(..)).collect();
        if round % 2 == 0 {
            rubbish[0] = 0x16;
        }
        let mut client = connect(&edge).await;
        let _ = client.write_all(&rubbish).await;
        let _ = client.shutdown().await;
        let _ = timeout(SOON, client.read_to_end(&mut Vec::new()))
            .await
            .unwrap();
    }
    assert!(ask(&mut connect(&edge).await, "still there").await.is_ok());
    wait_for_open(&edge, 0).await;
}
