//! How a simulated node is commanded while it runs: by a socket, and by a script.
//!
//! On the socket each line is a command and is answered by one line: `ok`, the counters, or
//! `error: ...`. See [`GRAMMAR`](super::GRAMMAR).

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::SimulatedEdge;
use super::command::Cue;
use super::wire::take;
use crate::lines::{Lines, Request};

/// Whoever commands is one or two.
const CALLERS_MAX: usize = 16;

/// A node's control socket; its file is gone when this is dropped.
#[derive(Debug)]
pub struct Control {
    listener: UnixListener,
    path: PathBuf,
}

impl Control {
    /// Listens at `path`; a socket that a node before left there is replaced.
    ///
    /// # Errors
    /// Something else is there, or the place cannot be written to.
    pub fn open(path: &Path) -> io::Result<Self> {
        let is_left_over = fs::metadata(path).is_ok_and(|file| file.file_type().is_socket());
        if is_left_over {
            fs::remove_file(path)?;
        }
        Ok(Self {
            listener: UnixListener::bind(path)?,
            path: path.to_owned(),
        })
    }

    /// Lets `edge` be commanded, for as long as this is awaited.
    pub async fn serve(self, edge: Arc<SimulatedEdge>) {
        let mut callers = JoinSet::new();
        loop {
            tokio::select! {
                Some(_) = callers.join_next(), if !callers.is_empty() => {}
                caller = self.listener.accept(), if callers.len() < CALLERS_MAX => {
                    let Ok((stream, _)) = caller else { return };
                    let edge = Arc::clone(&edge);
                    callers.spawn(async move { drop(listen(stream, &edge).await) });
                }
            }
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

async fn listen(mut stream: UnixStream, edge: &SimulatedEdge) -> io::Result<()> {
    let mut lines = Lines::default();
    while take(&mut stream, |bytes| lines.push(bytes)).await? > 0 {
        while let Some(request) = lines.next() {
            let Request::Line(line) = request else {
                return Err(ErrorKind::InvalidData.into());
            };
            let answer = match obey(edge, &String::from_utf8_lossy(line)).await {
                Ok(answer) => answer,
                Err(error) => format!("error: {error}"),
            };
            stream.write_all(format!("{answer}\n").as_bytes()).await?;
        }
    }
    Ok(())
}

async fn obey(edge: &SimulatedEdge, line: &str) -> Result<String, String> {
    let command = line.parse()?;
    let obeyed = edge.obey(command).await;
    obeyed.map_err(|error| error.to_string())
}

/// Lets `edge` do what `script` says, at its times from now on; what goes wrong is told on stderr.
pub async fn perform(script: Vec<Cue>, edge: &SimulatedEdge) {
    let start = Instant::now();
    for Cue { at, command } in script {
        sleep_until(start + at).await;
        if let Err(error) = edge.obey(command).await {
            let _ = writeln!(io::stderr(), "error: {command:?}: {error}");
        }
    }
}
