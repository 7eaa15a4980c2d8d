//! `pinfold-loadtest edge`: a node that can be stopped and killed for real.

use std::fs;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, LazyLock};
use std::thread;

use crate::SimulatedEdge;
use crate::edge::{Control, Cue, GRAMMAR, perform, script};
use crate::process::raise_descriptor_limit;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

#[derive(Debug, clap::Args)]
#[command(after_help = &**COMMANDS)]
pub(super) struct Arguments {
    /// The name it answers with
    #[arg(long)]
    name: String,
    /// Where to listen, for TCP and UDP; port 0 picks one
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// A unix socket to be created, which takes commands, one a line
    #[arg(long, value_name = "PATH")]
    control: Option<PathBuf>,
    /// A file of commands, each line `TIME COMMAND`, the times since the start
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
}

static COMMANDS: LazyLock<String> = LazyLock::new(|| {
    let lines = GRAMMAR.lines().map(|line| format!("\n  {line}"));
    format!("Commands:{}", lines.collect::<String>())
});

pub(super) fn run(arguments: &Arguments) -> io::Result<ExitCode> {
    raise_descriptor_limit()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve(arguments))
}

async fn serve(arguments: &Arguments) -> io::Result<ExitCode> {
    let mut terminated = signal(SignalKind::terminate())?;
    let script = read_script(arguments)?;
    let edge = SimulatedEdge::start(&arguments.name, arguments.listen).await?;
    let edge = Arc::new(edge);
    let control = arguments
        .control
        .as_deref()
        .map(Control::open)
        .transpose()?;
    let mut stdout = io::stdout();
    writeln!(stdout, "listening {}", edge.address())?;
    stdout.flush()?;
    let commanded = async {
        let by_socket = async {
            if let Some(control) = control {
                control.serve(Arc::clone(&edge)).await;
            }
        };
        tokio::join!(perform(script, &edge), by_socket);
        std::future::pending::<()>().await;
    };
    tokio::select! {
        _ = terminated.recv() => {}
        _ = end_of_stdin() => {}
        () = commanded => {}
    }
    edge.kill().await;
    Ok(ExitCode::SUCCESS)
}

fn read_script(arguments: &Arguments) -> io::Result<Vec<Cue>> {
    let Some(path) = &arguments.script else {
        return Ok(Vec::new());
    };
    let told = |error: String| io::Error::other(format!("{}: {error}", path.display()));
    let text = fs::read_to_string(path).map_err(|error| told(error.to_string()))?;
    script(&text).map_err(told)
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
