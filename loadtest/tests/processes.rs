//! Edge Servers as real processes: killed, stopped, restarted, ended with their parent.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use pinfold_loadtest::process::{EdgeProcess, Process, Signal, program_beside, wait_until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_pinfold-loadtest");
const SOON: Duration = Duration::from_secs(10);

fn edge() -> EdgeProcess {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    EdgeProcess::spawn(Path::new(PROGRAM), "edge1", any).expect("a node")
}

fn ask(stream: &TcpStream, patience: Duration) -> std::io::Result<String> {
    let mut writer = stream;
    stream.set_read_timeout(Some(patience))?;
    writer.write_all(b"hello\n")?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    Ok(answer)
}

#[test]
fn a_killed_process_refuses_and_comes_back_on_its_port() {
    let mut edge = edge();
    let stream = TcpStream::connect(edge.address()).unwrap();
    assert_eq!(ask(&stream, SOON).unwrap(), "edge1 hello\n");
    edge.kill().unwrap();
    assert!(TcpStream::connect(edge.address()).is_err());
    edge.kill().unwrap_err();
    let address = edge.address();
    edge.restart().unwrap();
    assert_eq!(edge.address(), address);
    let stream = TcpStream::connect(address).unwrap();
    assert_eq!(ask(&stream, SOON).unwrap(), "edge1 hello\n");
}

#[test]
fn a_stopped_process_accepts_without_a_word_until_it_goes_on() {
    let mut edge = edge();
    edge.freeze().unwrap();
    let stream = TcpStream::connect(edge.address()).unwrap();
    ask(&stream, Duration::from_millis(80)).unwrap_err();
    edge.thaw().unwrap();
    let answer = wait_until(SOON, || ask(&stream, SOON).ok());
    assert_eq!(answer.unwrap(), "edge1 hello\n");
}

#[test]
fn a_process_that_is_told_to_end_ends_well() {
    let mut edge = edge();
    edge.process().signal(Signal::TERM).unwrap();
    assert!(edge.process().wait_exit(SOON).unwrap().success());
}

#[test]
fn a_dropped_process_is_gone_even_if_it_was_stopped() {
    let mut edge = edge();
    edge.freeze().unwrap();
    let address = edge.address();
    drop(edge);
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn a_port_in_use_is_told_in_words() {
    let edge = edge();
    let error = EdgeProcess::spawn(Path::new(PROGRAM), "edge2", edge.address()).unwrap_err();
    assert!(
        error.to_string().contains("Address already in use"),
        "{error}"
    );
}

#[test]
fn the_program_is_found_beside_another_one() {
    let beside = Path::new(PROGRAM).with_file_name("pinfold");
    assert_eq!(program_beside(&beside).unwrap(), Path::new(PROGRAM));
    program_beside("/nowhere/pinfold").unwrap_err();
}

#[test]
fn commands_are_obeyed_in_every_life_of_a_process() {
    let mut edge = edge();
    edge.command("die 1").unwrap();
    let stream = TcpStream::connect(edge.address()).unwrap();
    ask(&stream, SOON).unwrap_err();
    let error = edge.command("die young").unwrap_err();
    assert!(error.to_string().contains("wants a number"), "{error}");
    edge.kill().unwrap();
    edge.command("stats").unwrap_err();
    edge.restart().unwrap();
    let stats = edge.command("stats").unwrap();
    assert!(stats.contains("\"phase\":\"running\""), "{stats}");
}

#[test]
fn a_script_is_played_and_a_wrong_one_is_told_with_its_line() {
    let path = std::env::temp_dir().join(format!("pinfold-script-{}", std::process::id()));
    let mut command = std::process::Command::new(PROGRAM);
    command
        .args(["edge", "--name", "edge1", "--script"])
        .arg(&path);

    std::fs::write(&path, "0ms freeze\n1ms explode\n").unwrap();
    let mut process = Process::spawn(&mut command).unwrap();
    assert!(!process.wait_exit(SOON).unwrap().success());
    let told = process.wait_line(SOON, |line| line.contains("line 2: \"explode\""));
    assert!(told.is_some(), "{}", process.output());

    std::fs::write(&path, "0ms kill\n1ms revive\n").unwrap();
    let process = Process::spawn(&mut command).unwrap();
    let line = process.wait_line(SOON, |line| line.starts_with("listening "));
    let address: SocketAddr = line.unwrap()["listening ".len()..].parse().unwrap();
    let answer = wait_until(SOON, || ask(&TcpStream::connect(address).ok()?, SOON).ok());
    assert_eq!(answer.unwrap(), "edge1 hello\n");
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn the_help_of_a_node_tells_every_command() {
    let output = std::process::Command::new(PROGRAM)
        .args(["edge", "--help"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    for line in pinfold_loadtest::edge::GRAMMAR.lines() {
        let verb = line.split(' ').next().unwrap();
        assert!(text.contains(verb), "{verb} in {text}");
    }
}
