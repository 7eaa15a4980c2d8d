//! `pinfold-loadtest edge`: a node that can be stopped and killed for real.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::thread;

use pinfold_loadtest::SimulatedEdge;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The name it answers with
    #[arg(long)]
    name: String,
    /// Where to listen; port 0 picks one
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
}

pub(super) fn run(arguments: &Arguments) -> io::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve(arguments))
}

async fn serve(arguments: &Arguments) -> io::Result<ExitCode> {
    let mut terminated = signal(SignalKind::terminate())?;
    let edge = SimulatedEdge::start(&arguments.name, arguments.listen).await?;
    let mut stdout = io::stdout();
    writeln!(stdout, "listening {}", edge.address())?;
    stdout.flush()?;
    tokio::select! {
        _ = terminated.recv() => {}
        _ = end_of_stdin() => {}
    }
    edge.kill().await;
    Ok(ExitCode::SUCCESS)
}

/// Completes when standard input ends, so that a node never outlives whoever started it.
fn end_of_stdin() -> oneshot::Receiver<()> {
    let (ended, end) = oneshot::channel();
    thread::spawn(move || {
        let mut stdin = io::stdin().lock();
        while matches!(stdin.read(&mut [0; 64]), Ok(1..)) {}
        let _ = ended.send(());
    });
    end
}
