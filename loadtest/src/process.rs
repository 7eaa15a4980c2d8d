//! Child processes under test: started, listened to, signalled and always ended.
//!
//! Owns the harness pieces that tests and measurements share: a child whose output is drained
//! and kept, an Edge Server as a process of its own, and waiting with a limit instead of
//! sleeping. Every child is ended by its pid when its handle is dropped, also by a panic.

mod directory;
mod output;
mod ports;

use std::env::temp_dir;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

pub use self::directory::Directory;
pub use self::ports::{all_listening, free_ports};
pub use rustix::process::Signal;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, kill_process, setrlimit};

use self::output::Output;

/// How long an Edge Server process may take to listen.
const START_LIMIT: Duration = Duration::from_secs(10);

/// How long a command may take, such as one to a process that stands still.
const COMMAND_LIMIT: Duration = Duration::from_secs(10);

const POLL: Duration = Duration::from_millis(3);

/// Asks every few milliseconds until `condition` gives something; `None` after `limit`.
pub fn wait_until<T>(limit: Duration, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    // Nobody ever sends: this is a wait that no clock change and no spurious wake can shorten.
    let (_held, silence) = sync_channel::<()>(0);
    loop {
        if let Some(found) = condition() {
            return Some(found);
        }
        if Instant::now() >= deadline {
            return None;
        }
        let _ = silence.recv_timeout(POLL);
    }
}

/// Waits until `at`.
pub fn rest_until(at: Instant) {
    let (_held, silence) = sync_channel::<()>(0);
    let _ = silence.recv_timeout(at.saturating_duration_since(Instant::now()));
}

/// Lets this process, and the children it starts from now on, have as many descriptors as it may.
/// Tells how many that are.
///
/// # Errors
/// The system refuses.
pub fn raise_descriptor_limit() -> io::Result<u64> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    setrlimit(Resource::Nofile, raised)?;
    Ok(maximum.unwrap_or(u64::MAX))
}

/// A running child.
#[derive(Debug)]
pub struct Process {
    child: Child,
    output: Arc<Output>,
}

impl Process {
    /// Starts `command` with its standard streams taken over. The child's stdin stays open
    /// until the handle is dropped.
    ///
    /// # Errors
    /// The program cannot be started; the message names it.
    pub fn spawn(command: &mut Command) -> io::Result<Self> {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| {
            let program = Path::new(command.get_program());
            io::Error::new(error.kind(), format!("{}: {error}", program.display()))
        })?;
        let output = Arc::new(Output::default());
        if let Some(stdout) = child.stdout.take() {
            output::drain(stdout, Arc::clone(&output));
        }
        if let Some(stderr) = child.stderr.take() {
            output::drain(stderr, Arc::clone(&output));
        }
        Ok(Self { child, output })
    }

    /// Its pid.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal to it, unless it has ended and been waited for.
    ///
    /// # Errors
    /// It has ended, or the system refuses.
    pub fn signal(&mut self, signal: Signal) -> io::Result<()> {
        if let Some(status) = self.child.try_wait()? {
            let message = format!("the process has ended: {status}");
            return Err(io::Error::other(message));
        }
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::other("not a pid"))?;
        Ok(kill_process(pid, signal)?)
    }

    /// Waits until it ends by itself; `None` after `limit`.
    pub fn wait_exit(&mut self, limit: Duration) -> Option<ExitStatus> {
        wait_until(limit, || self.child.try_wait().ok().flatten())
    }

    /// Waits for a line of stdout or stderr that pleases, the earlier ones included; `None` after
    /// `limit`, or once no more can come.
    pub fn wait_line(&self, limit: Duration, pleases: impl Fn(&str) -> bool) -> Option<String> {
        self.output.wait_line(limit, pleases)
    }

    /// All it has written so far, stdout and stderr in order of arrival, the latest lines if it
    /// was a lot.
    #[must_use]
    pub fn output(&self) -> String {
        self.output.text()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A simulated Edge Server as a process, which can be killed and stopped for real.
#[derive(Debug)]
pub struct EdgeProcess {
    program: PathBuf,
    name: String,
    address: SocketAddr,
    control: PathBuf,
    process: Process,
}

impl EdgeProcess {
    /// Starts `program edge --name NAME --listen LISTEN` and waits until it listens. The
    /// program is `pinfold-loadtest`; see [`program_beside`].
    ///
    /// # Errors
    /// It cannot be started or does not listen in time; its output is in the message.
    pub fn spawn(program: &Path, name: &str, listen: SocketAddr) -> io::Result<Self> {
        let control = control_path();
        let (process, address) = listen_at(program, name, listen, &control)?;
        Ok(Self {
            program: program.to_owned(),
            name: name.to_owned(),
            address,
            control,
            process,
        })
    }

    /// The name it answers with.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it listens; the same over restarts.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Kills it with SIGKILL and waits for its end.
    ///
    /// # Errors
    /// It has already ended.
    pub fn kill(&mut self) -> io::Result<()> {
        self.process.signal(Signal::KILL)?;
        self.process.child.wait().map(drop)
    }

    /// Stops it with SIGSTOP: its kernel still accepts.
    ///
    /// # Errors
    /// It has ended.
    pub fn freeze(&mut self) -> io::Result<()> {
        self.process.signal(Signal::STOP)
    }

    /// Lets it go on after [`freeze`](Self::freeze).
    ///
    /// # Errors
    /// It has ended.
    pub fn thaw(&mut self) -> io::Result<()> {
        self.process.signal(Signal::CONT)
    }

    /// Ends it if need be and starts it anew on the same port.
    ///
    /// # Errors
    /// As [`spawn`](Self::spawn).
    pub fn restart(&mut self) -> io::Result<()> {
        let _ = self.kill();
        let (process, _) = listen_at(&self.program, &self.name, self.address, &self.control)?;
        self.process = process;
        Ok(())
    }

    /// Gives it a command (see [`GRAMMAR`](crate::edge::GRAMMAR)) and tells the answer.
    ///
    /// # Errors
    /// It does not live or stands still; the command is none or could not be obeyed, with the
    /// reason in the message.
    pub fn command(&self, command: &str) -> io::Result<String> {
        let mut stream = UnixStream::connect(&self.control)?;
        stream.set_read_timeout(Some(COMMAND_LIMIT))?;
        stream.write_all(format!("{command}\n").as_bytes())?;
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer)?;
        let Some(answer) = answer.strip_suffix('\n') else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        match answer.strip_prefix("error: ") {
            Some(error) => Err(io::Error::other(error)),
            None => Ok(answer.to_owned()),
        }
    }

    /// The process itself.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

impl Drop for EdgeProcess {
    fn drop(&mut self) {
        // A process that is killed leaves it behind.
        let _ = fs::remove_file(&self.control);
    }
}

/// A path that nobody else has.
fn control_path() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Relaxed);
    temp_dir().join(format!("pinfold-edge-{}-{number}", std::process::id()))
}

fn listen_at(
    program: &Path,
    name: &str,
    listen: SocketAddr,
    control: &Path,
) -> io::Result<(Process, SocketAddr)> {
    let listen = listen.to_string();
    let mut command = Command::new(program);
    command.args(["edge", "--name", name, "--listen", &listen]);
    command.arg("--control").arg(control);
    let process = Process::spawn(&mut command)?;
    let said = process.wait_line(START_LIMIT, |line| line.starts_with("listening "));
    let address = said.and_then(|line| line.strip_prefix("listening ")?.trim().parse().ok());
    match address {
        Some(address) => Ok((process, address)),
        None => Err(io::Error::other(format!(
            "node \"{name}\" does not listen on {listen}: {}",
            process.output()
        ))),
    }
}

/// The program `pinfold-loadtest` that was built beside `program`, such as the binary under test.
///
/// # Errors
/// There is none; `cargo build -p pinfold-loadtest` makes it.
pub fn program_beside(program: impl AsRef<OsStr>) -> io::Result<PathBuf> {
    let beside = Path::new(program.as_ref()).with_file_name("pinfold-loadtest");
    if beside.is_file() {
        return Ok(beside);
    }
    let message = format!(
        "no {}: build it with `cargo build -p pinfold-loadtest`",
        beside.display()
    );
    Err(io::Error::new(io::ErrorKind::NotFound, message))
}
