use std::net::Ipv4Addr;
use std::path::Path;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::*;
use crate::tls::{TlsVersion, shape};

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
            lines: 2,
            datagrams: 0
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

#[tokio::test]
async fn hellos_that_cannot_be_served_are_answered_by_an_alert() {
    let edge = edge().await;
    let mut of_tls_1_1 = shape::client_hello();
    of_tls_1_1[10] = 2;
    for hello in [of_tls_1_1, b"\x16\x03\x01\x00\x04\xff\x00\x00\x00".to_vec()] {
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

#[tokio::test]
async fn datagrams_are_answered_by_name_and_stun_in_kind_until_the_node_dies() {
    let edge = edge().await;
    let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    client.connect(edge.address()).await.unwrap();
    let mut answer = [0; 2048];
    let binding = [&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], &[7; 12]].concat();
    for (datagram, expected) in [
        (&b"hello"[..], &b"edge1 hello"[..]),
        (b"", b"edge1 "),
        (&binding, &[1, 1]),
    ] {
        client.send(datagram).await.unwrap();
        let count = timeout(SOON, client.recv(&mut answer))
            .await
            .unwrap()
            .unwrap();
        assert!(answer[..count].starts_with(expected), "{datagram:?}");
    }
    assert_eq!(edge.counters().datagrams, 3);

    edge.mute(true);
    client.send(b"hello").await.unwrap();
    assert!(timeout(QUIET, client.recv(&mut answer)).await.is_err());
    edge.mute(false);
    edge.kill().await;
    client.send(b"hello").await.unwrap();
    let error = timeout(SOON, client.recv(&mut answer))
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    edge.revive().await.unwrap();
    client.send(b"back").await.unwrap();
    let count = timeout(SOON, client.recv(&mut answer))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&answer[..count], b"edge1 back");
}

#[tokio::test]
async fn a_partner_of_ocs_2007_is_served_in_its_shape_until_tls_is_refused() {
    let edge = edge().await;
    let stream = TcpStream::connect(edge.address()).await.unwrap();
    let mut client = BufReader::new(shape::connect(stream).await.unwrap());
    assert_eq!(ask(&mut client, "hello").await.unwrap(), "edge1 hello\n");
    client.write_all(b"!bytes 100000\n!close\n").await.unwrap();
    let mut bytes = Vec::new();
    let read = timeout(SOON, client.read_to_end(&mut bytes)).await.unwrap();
    assert_eq!(read.unwrap(), 100_000);

    let stream = TcpStream::connect(edge.address()).await.unwrap();
    let mut client = BufReader::new(shape::connect(stream).await.unwrap());
    let error = ask(&mut client, "!reset").await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);

    edge.refuse_tls(true);
    let stream = TcpStream::connect(edge.address()).await.unwrap();
    let error = shape::connect(stream).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn an_opening_is_understood_however_it_is_chopped() {
    let edge = edge().await;
    let hello = shape::client_hello();
    let mut client = TcpStream::connect(edge.address()).await.unwrap();
    client.set_nodelay(true).unwrap();
    for byte in hello {
        client.write_all(&[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut header = [0; 6];
    timeout(SOON, client.read_exact(&mut header))
        .await
        .unwrap()
        .unwrap();
    assert_eq!((header[0], header[5]), (0x16, 2), "a ServerHello");
}

#[tokio::test]
async fn a_sink_takes_everything_and_says_nothing() {
    let edge = edge().await;
    let mut client = connect(&edge).await;
    client.write_all(b"hello\n!sink\nlost\n").await.unwrap();
    client.write_all(&vec![b'x'; 3_000_000]).await.unwrap();
    client.shutdown().await.unwrap();
    let mut answers = String::new();
    let read = timeout(SOON, client.read_to_string(&mut answers))
        .await
        .unwrap();
    read.unwrap();
    assert_eq!(answers, "edge1 hello\n");
    assert_eq!(edge.counters().lines, 1);
}

#[tokio::test]
async fn a_port_refuses_while_what_stands_goes_on() {
    let edge = edge().await;
    let mut old = connect(&edge).await;
    ask(&mut old, "before").await.unwrap();
    for _ in 0..2 {
        edge.refuse(true).await.unwrap();
        let error = TcpStream::connect(edge.address()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(
            ask(&mut old, "meanwhile").await.unwrap(),
            "edge1 meanwhile\n"
        );
        edge.refuse(false).await.unwrap();
        assert_eq!(
            ask(&mut connect(&edge).await, "new").await.unwrap(),
            "edge1 new\n"
        );
    }
    edge.refuse(true).await.unwrap();
    edge.kill().await;
    edge.revive().await.unwrap();
    assert!(TcpStream::connect(edge.address()).await.is_err());
    edge.refuse(false).await.unwrap();
    assert!(ask(&mut connect(&edge).await, "at last").await.is_ok());
}

#[tokio::test]
async fn a_mute_node_accepts_and_says_nothing_and_old_connections_do_not_notice() {
    let edge = edge().await;
    let mut old = connect(&edge).await;
    ask(&mut old, "before").await.unwrap();
    edge.mute(true);
    let mut fresh = connect(&edge).await;
    fresh.write_all(b"hello\n").await.unwrap();
    assert!(timeout(QUIET, fresh.read_u8()).await.is_err());
    assert_eq!(edge.counters().accepted, 2);
    assert!(ask(&mut old, "still").await.is_ok());
    edge.mute(false);
    assert!(ask(&mut connect(&edge).await, "again").await.is_ok());
}

#[tokio::test]
async fn a_connection_is_reset_once_so_many_bytes_were_sent_on_it() {
    let edge = edge().await;
    edge.reset_after(Some(10_000));
    for request in ["!bytes 50000\n", "!bytes 10000\n"] {
        let mut client = connect(&edge).await;
        client.write_all(request.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        let end = timeout(SOON, client.read_to_end(&mut bytes)).await.unwrap();
        assert_eq!(end.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(bytes.len(), 10_000);
    }
    edge.reset_after(None);
    assert!(ask(&mut connect(&edge).await, "hello").await.is_ok());
}

#[tokio::test]
async fn commands_on_the_control_socket_are_obeyed_and_answered() {
    let edge = Arc::new(edge().await);
    let path = std::env::temp_dir().join(format!("pinfold-control-{}", edge.address().port()));
    let control = Control::open(&path).unwrap();
    tokio::spawn(control.serve(Arc::clone(&edge)));
    let stream = tokio::net::UnixStream::connect(&path).await.unwrap();
    let mut caller = BufReader::new(stream);
    for (command, expected) in [
        ("refuse on", "ok\n"),
        ("explode", "error: \"explode\" is not a command"),
        ("kill", "ok\n"),
        (
            "stats",
            "{\"name\":\"edge1\",\"phase\":\"dead\",\"accepted\":0",
        ),
        ("refuse off", "ok\n"),
        ("revive", "ok\n"),
    ] {
        let answer = ask(&mut caller, command).await.unwrap();
        assert!(answer.starts_with(expected), "{command}: {answer}");
    }
    assert!(ask(&mut connect(&edge).await, "hello").await.is_ok());
    let error = ask(&mut caller, "!bytes 100").await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn a_control_socket_replaces_a_left_one_and_nothing_else() {
    let edge = edge().await;
    let path = std::env::temp_dir().join(format!("pinfold-left-{}", edge.address().port()));
    let left = std::os::unix::net::UnixListener::bind(&path).unwrap();
    drop(left);
    drop(Control::open(&path).unwrap());
    assert!(!path.exists());
    Control::open(Path::new("/nowhere/control")).unwrap_err();
    std::fs::write(&path, "precious").unwrap();
    Control::open(&path).unwrap_err();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    std::fs::remove_file(&path).unwrap();
}

#[tokio::test]
async fn a_script_is_performed_to_its_end() {
    let edge = edge().await;
    let cues = script("1ms die 1\n2ms refuse on\n3ms refuse off\n").unwrap();
    timeout(SOON, perform(cues, &edge)).await.unwrap();
    let error = ask(&mut connect(&edge).await, "hello").await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    assert!(ask(&mut connect(&edge).await, "hello").await.is_ok());
}
