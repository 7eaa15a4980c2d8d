//! What the sandbox of `serve` forbids is tried from inside a process that is in it, and from one that is not.
//!
//! Each case runs in a process of its own: this program, started again for one test, which enters the sandbox and
//! tries everything.

#![expect(
    unsafe_code,
    reason = "what is forbidden has no safe wrapper, because nobody should need it"
)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CString, c_long};
use std::fs;
use std::io::{self, Write as _};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use libc::{EACCES, ENOSYS, EPERM};
use pinfold::config;
use pinfold::confine::Measure::{self, Capabilities, Landlock, NoNewPrivileges, SystemCalls};
use pinfold::confine::{self, CapabilitySet, Needs};
use pinfold::control::Sandbox;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
use socket2::{Domain, Protocol, Socket, Type};

/// Where the process in the sandbox has its files.
const FOLDER: &str = "PINFOLD_CONFINED";

/// What a try leads to: what the system says, if it refuses.
type Try = fn(&Place) -> io::Result<()>;

/// Something that a service which was taken over would try.
struct Forbidden {
    name: &'static str,
    /// What forbids it, and what is said then; the first that is in force counts.
    by: &'static [(Measure, i32)],
    /// Whether it is only root's anyway.
    is_roots: bool,
    attempt: Try,
}

/// Where a process tries things.
struct Place {
    folder: PathBuf,
    /// A process outside the sandbox.
    other: u32,
}

/// The answer of `syscall(2)`.
fn answer(result: c_long) -> io::Result<c_long> {
    match result {
        -1 => Err(io::Error::last_os_error()),
        result => Ok(result),
    }
}

/// Calls the kernel with numbers alone.
fn call(number: c_long, arguments: [c_long; 6]) -> io::Result<c_long> {
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: none of the calls below is given a pointer that it could follow.
    answer(unsafe { libc::syscall(number, a, b, c, d, e, f) })
}

const ONLY_CALLS: &[(Measure, i32)] = &[(SystemCalls, EPERM)];
const NO_SUCH_CALL: &[(Measure, i32)] = &[(SystemCalls, ENOSYS)];
const CALLS_OR_RIGHTS: &[(Measure, i32)] = &[(SystemCalls, EPERM), (Capabilities, EPERM)];
const CALLS_OR_SCOPE: &[(Measure, i32)] = &[(SystemCalls, EPERM), (Landlock, EPERM)];
const SIGNAL: &str = "signal another process";
const FILES: &[(Measure, i32)] = &[(Landlock, EACCES)];

const fn plain(
    name: &'static str,
    by: &'static [(Measure, i32)],
    is_roots: bool,
    attempt: Try,
) -> Forbidden {
    Forbidden {
        name,
        by,
        is_roots,
        attempt,
    }
}

/// Everything that is tried.
const FORBIDDEN: &[Forbidden] = &[
    plain("read /etc/shadow", FILES, true, |_| {
        fs::File::open("/etc/shadow").map(drop)
    }),
    plain("read a file elsewhere", FILES, false, |place| {
        fs::File::open(place.folder.join("elsewhere/file")).map(drop)
    }),
    plain("list a folder elsewhere", FILES, false, |place| {
        fs::read_dir(place.folder.join("elsewhere")).map(drop)
    }),
    plain("write beside the state", FILES, false, |place| {
        write(&place.folder.join("home/beside"))
    }),
    plain("change the configuration", FILES, false, |place| {
        let file = place.folder.join("home/pinfold.toml");
        fs::OpenOptions::new().append(true).open(file).map(drop)
    }),
    plain("remove the configuration", FILES, false, |place| {
        let file = place.folder.join("home/spare");
        fs::remove_file(&file)?;
        fs::write(file, "spare")
    }),
    plain("write a setting of the kernel", FILES, true, |_| {
        let file = "/proc/sys/kernel/core_uses_pid";
        fs::OpenOptions::new().write(true).open(file).map(drop)
    }),
    plain(
        "run a program",
        &[(SystemCalls, EPERM), (Landlock, EACCES)],
        false,
        |_| Command::new("/bin/true").status().map(drop),
    ),
    plain("become a program", ONLY_CALLS, false, |_| {
        let none = CString::new("/nonexistent").unwrap();
        let list = [none.as_ptr(), std::ptr::null()];
        // SAFETY: both lists end with a null pointer, and there is no such program.
        let result = unsafe { libc::execve(none.as_ptr(), list.as_ptr(), list[1..].as_ptr()) };
        is_made(answer(c_long::from(result)))
    }),
    plain("fork", ONLY_CALLS, false, |_| {
        // SAFETY: the child ends at once, and runs nothing of this process before.
        match unsafe { libc::fork() } {
            -1 => Err(io::Error::last_os_error()),
            // SAFETY: ends this process and nothing else.
            0 => unsafe { libc::_exit(0) },
            // SAFETY: a null pointer says that the status is of no interest.
            child => answer(c_long::from(unsafe {
                libc::waitpid(child, std::ptr::null_mut(), 0)
            }))
            .map(drop),
        }
    }),
    plain(
        "look into another process",
        &[
            (SystemCalls, EPERM),
            (Landlock, EPERM),
            (Capabilities, EPERM),
        ],
        true,
        |place| {
            let other = c_long::from(place.other);
            let trace = |what: u32| call(libc::SYS_ptrace, [what.into(), other, 0, 0, 0, 0]);
            trace(libc::PTRACE_SEIZE)?;
            // So that the next one may.
            trace(libc::PTRACE_INTERRUPT)?;
            call(libc::SYS_wait4, [other, 0, libc::__WALL.into(), 0, 0, 0])?;
            trace(libc::PTRACE_DETACH).map(drop)
        },
    ),
    plain(
        "read another process's memory",
        ONLY_CALLS,
        false,
        |place| {
            let other = c_long::from(place.other);
            call(libc::SYS_process_vm_readv, [other, 0, 0, 0, 0, 0]).map(drop)
        },
    ),
    plain(SIGNAL, CALLS_OR_SCOPE, false, |place| {
        call(libc::SYS_kill, [c_long::from(place.other), 0, 0, 0, 0, 0]).map(drop)
    }),
    plain(
        "change another process's limits",
        ONLY_CALLS,
        false,
        |place| {
            let other = c_long::from(place.other);
            call(libc::SYS_prlimit64, [other, 0, 0, 0, 0, 0]).map(drop)
        },
    ),
    plain("a raw socket", CALLS_OR_RIGHTS, true, |_| {
        Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4)).map(drop)
    }),
    plain("a packet socket", CALLS_OR_RIGHTS, true, |_| {
        Socket::new(Domain::PACKET, Type::RAW, None).map(drop)
    }),
    plain(
        "a socket of the kernel's network",
        ONLY_CALLS,
        false,
        |_| Socket::new(libc::AF_NETLINK.into(), Type::RAW, None).map(drop),
    ),
    plain("a protocol that nobody speaks", ONLY_CALLS, false, |_| {
        Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::MPTCP)).map(drop)
    }),
    plain("take capabilities back", CALLS_OR_RIGHTS, true, |_| {
        // As they were before the sandbox: all that the bounding set had.
        let all = CapabilitySet::CHOWN | CapabilitySet::NET_ADMIN;
        let sets = rustix::thread::CapabilitySets {
            effective: all,
            permitted: all,
            inheritable: CapabilitySet::empty(),
        };
        let before = rustix::thread::capabilities(None)?;
        rustix::thread::set_capabilities(None, sets)?;
        // What is given away here is not to be had again, and the tries that follow need it.
        assert!(before.permitted.contains(all));
        Ok(())
    }),
    plain("be somebody else", ONLY_CALLS, false, |_| {
        call(libc::SYS_setresuid, [-1, -1, -1, 0, 0, 0]).map(drop)
    }),
    plain("new namespaces", ONLY_CALLS, false, |_| {
        call(libc::SYS_unshare, [0; 6]).map(drop)
    }),
    plain(
        "mount",
        &[
            (SystemCalls, EPERM),
            (Capabilities, EPERM),
            (Landlock, EPERM),
        ],
        true,
        |place| {
            let target = CString::new(place.folder.join("home/state").to_str().unwrap()).unwrap();
            let kind = CString::new("tmpfs").unwrap();
            // SAFETY: three strings that outlive the call, and no data.
            let result = unsafe {
                libc::mount(
                    kind.as_ptr(),
                    target.as_ptr(),
                    kind.as_ptr(),
                    0,
                    std::ptr::null(),
                )
            };
            answer(c_long::from(result))?;
            // SAFETY: a string that outlives the call.
            answer(c_long::from(unsafe { libc::umount(target.as_ptr()) })).map(drop)
        },
    ),
    plain("io_uring", NO_SUCH_CALL, false, |_| {
        is_not(ENOSYS, call(libc::SYS_io_uring_setup, [0; 6]))
    }),
    plain("programs in the kernel", ONLY_CALLS, true, |_| {
        // Asks for a command that there is not.
        is_made(call(libc::SYS_bpf, [9999, 0, 0, 0, 0, 0]))
    }),
    plain("counters of the processor", ONLY_CALLS, false, |_| {
        is_made(call(libc::SYS_perf_event_open, [0, 0, -1, -1, 0, 0]))
    }),
    plain("faults of memory", ONLY_CALLS, true, |_| {
        let flags = c_long::from(libc::O_CLOEXEC);
        is_made(call(libc::SYS_userfaultfd, [flags, 0, 0, 0, 0, 0]))
    }),
    plain("keys of the kernel", ONLY_CALLS, false, |_| {
        is_made(call(libc::SYS_keyctl, [0, -3, 0, 0, 0, 0]))
    }),
    plain("remove a module", ONLY_CALLS, true, |_| {
        is_made(call(libc::SYS_delete_module, [0, 0, 0, 0, 0, 0]))
    }),
    plain("load another kernel", ONLY_CALLS, true, |_| {
        is_made(call(libc::SYS_kexec_load, [0, 99, 0, 0, 0, 0]))
    }),
    plain("another personality", ONLY_CALLS, false, |_| {
        call(libc::SYS_personality, [0xffff_ffff, 0, 0, 0, 0, 0]).map(drop)
    }),
    plain("make code", ONLY_CALLS, false, |_| {
        map(libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC).map(drop)
    }),
    plain("make code of data", ONLY_CALLS, false, |_| {
        let page = map(libc::PROT_READ | libc::PROT_WRITE)?;
        // SAFETY: the page is this test's, and nothing refers to it.
        let result = unsafe { libc::mprotect(page, 4096, libc::PROT_READ | libc::PROT_EXEC) };
        answer(c_long::from(result)).map(drop)
    }),
    plain(
        "a program that others run as this user",
        ONLY_CALLS,
        false,
        |place| {
            use std::os::unix::fs::PermissionsExt;
            let file = place.folder.join("home/state/program");
            write(&file)?;
            fs::set_permissions(file, fs::Permissions::from_mode(0o4755))
        },
    ),
];

/// A call that was let through and then did not like its arguments, or that this kernel does not have, has been made.
fn is_made(result: io::Result<c_long>) -> io::Result<()> {
    is_not(EPERM, result)
}

fn is_not(refusal: i32, result: io::Result<c_long>) -> io::Result<()> {
    match result {
        Err(error) if error.raw_os_error() == Some(refusal) => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}

fn map(protection: i32) -> io::Result<*mut libc::c_void> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new page, wherever the kernel likes.
    let page = unsafe { libc::mmap(std::ptr::null_mut(), 4096, protection, flags, -1, 0) };
    match page {
        libc::MAP_FAILED => Err(io::Error::last_os_error()),
        page => Ok(page),
    }
}

fn write(file: &Path) -> io::Result<()> {
    fs::write(file, "text")
}

/// What must work all the same.
const ALLOWED: &[(&str, Try)] = &[
    ("read the configuration", |place| {
        fs::read(place.folder.join("home/pinfold.toml")).map(drop)
    }),
    ("read what replaces the configuration", |place| {
        fs::read(place.folder.join("home/spare")).map(drop)
    }),
    ("keep state", |place| {
        let (draft, file) = ("home/state/draft", "home/state/file");
        let (draft, file) = (place.folder.join(draft), place.folder.join(file));
        write(&draft)?;
        fs::rename(&draft, &file)?;
        fs::File::open(&file)?.sync_all()?;
        fs::OpenOptions::new()
            .write(true)
            .truncate(true)
            .open(&file)?;
        fs::remove_file(&file)
    }),
    ("time zones", |_| {
        jiff::tz::TimeZone::get("Europe/Paris")
            .map(drop)
            .map_err(io::Error::other)
    }),
    ("who asks", |_| fs::read_to_string("/etc/passwd").map(drop)),
    ("sockets", |_| {
        TcpListener::bind("[::1]:0")?;
        UdpSocket::bind("127.0.0.1:0")?;
        std::os::unix::net::UnixDatagram::unbound().map(drop)
    }),
    ("threads", |_| {
        thread::Builder::new()
            .spawn(|| ())?
            .join()
            .map_err(|_| io::ErrorKind::Other.into())
    }),
    ("a panic that is caught, with where it came from", |_| {
        let caught = std::panic::catch_unwind(|| {
            let trace = std::backtrace::Backtrace::force_capture();
            assert!(trace.to_string().is_empty(), "on purpose");
        });
        match caught {
            Ok(()) => Err(io::Error::other("no backtrace")),
            Err(_) => Ok(()),
        }
    }),
    (
        "its own descriptors",
        |_| match pinfold::sys::limits::raise_descriptors() {
            0 => Err(io::ErrorKind::Other.into()),
            _ => Ok(()),
        },
    ),
];

/// A process that tries, and the folder that is its own.
struct Confined {
    folder: PathBuf,
    /// Stays outside.
    other: Child,
}

impl Confined {
    fn create() -> Self {
        let name = format!(
            "pinfold-confine-{}-{:016x}",
            std::process::id(),
            fastrand::u64(..)
        );
        let folder = std::env::temp_dir().join(name);
        for part in ["elsewhere", "home/state", "home/run"] {
            fs::create_dir_all(folder.join(part)).unwrap();
        }
        fs::write(folder.join("elsewhere/file"), "text").unwrap();
        fs::write(folder.join("home/spare"), "spare").unwrap();
        let mut other = Command::new("cat");
        let other = other.stdin(Stdio::piped()).stdout(Stdio::null());
        let other = other.spawn().unwrap();
        Self { folder, other }
    }

    /// Runs `test` of this program in a process of its own, with `sandbox` as in the configuration.
    fn run(&self, test: &str, sandbox: &str) -> Output {
        let home = self.folder.join("home");
        let text = format!(
            "version = 1\n[server]\nstate_dir = \"{0}/state\"\nadmin = \"unix:{0}/run/admin.sock\"\n\
             sandbox = {sandbox}\n[[pool]]\nname = \"edge\"\n[[pool.node]]\nname = \"edge1\"\n\
             address = \"127.0.0.1:1\"\n[[listener]]\nname = \"federation\"\nbind = \"127.0.0.1:0\"\n\
             pool = \"edge\"\n",
            home.display()
        );
        fs::write(home.join("pinfold.toml"), text).unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([
            "--exact",
            test,
            "--nocapture",
            "--test-threads=1",
            "--ignored",
        ]);
        command
            .env(FOLDER, &self.folder)
            .env("OTHER", self.other.id().to_string());
        command.env_remove("NOTIFY_SOCKET").output().unwrap()
    }
}

impl Drop for Confined {
    fn drop(&mut self) {
        let _ = self.other.kill();
        let _ = self.other.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// In the process that tries: its place, and the sandbox around this thread.
fn enter() -> (Place, Sandbox) {
    let folder = PathBuf::from(std::env::var_os(FOLDER).expect("started by another test"));
    let loaded = config::load(&folder.join("home/pinfold.toml")).unwrap();
    let sandbox = Sandbox::enter(&loaded.config, &loaded.reads).unwrap();
    let other = std::env::var("OTHER").unwrap().parse().unwrap();
    (Place { folder, other }, sandbox)
}

/// A line for each try: `thread: what: errno`, or 0.
fn tell(thread: &str, what: &str, result: &io::Result<()>) {
    let number = result
        .as_ref()
        .err()
        .map_or(0, |error| error.raw_os_error().unwrap_or(-1));
    let _ = writeln!(io::stdout(), "\nTRIED\t{thread}\t{what}\t{number}");
}

#[test]
#[ignore = "started by the others, in a process of its own"]
fn inside() {
    // Somebody who was there before: the filter of system calls is for all threads.
    let (tasks, waiting) = sync_channel::<Box<dyn FnOnce() + Send>>(1);
    let bystander = thread::spawn(move || waiting.into_iter().for_each(|task| task()));
    let (place, sandbox) = enter();
    let labels: Vec<_> = sandbox.in_force.iter().map(|each| each.label()).collect();
    let _ = writeln!(io::stdout(), "\nIN FORCE\t{}", labels.join(","));
    let place = std::sync::Arc::new(place);
    for (what, attempt) in ALLOWED {
        tell("entered", what, &attempt(&place));
    }
    for each in FORBIDDEN {
        let later = std::sync::Arc::clone(&place);
        let attempt = each.attempt;
        let name = each.name;
        let from_later = thread::spawn(move || tell("later", name, &attempt(&later)));
        from_later.join().unwrap();
        tell_bystander(&tasks, each, &place);
        // Who takes capabilities back where that works has fewer of them afterwards.
        if each.name != "take capabilities back" {
            tell("entered", each.name, &(each.attempt)(&place));
        }
    }
    drop(tasks);
    bystander.join().unwrap();
}

fn tell_bystander(
    tasks: &SyncSender<Box<dyn FnOnce() + Send>>,
    each: &'static Forbidden,
    place: &std::sync::Arc<Place>,
) {
    let (tell_done, done) = sync_channel(1);
    let place = std::sync::Arc::clone(place);
    let is_for_all = each
        .by
        .first()
        .is_some_and(|(measure, _)| *measure == SystemCalls);
    if is_for_all && each.name != "take capabilities back" {
        let task = Box::new(move || {
            tell("bystander", each.name, &(each.attempt)(&place));
            let _ = tell_done.send(());
        });
        tasks.send(task).unwrap();
        done.recv().unwrap();
    }
}

/// What the process in the sandbox told: by thread and try.
fn told(output: &Output) -> (String, BTreeMap<(String, String), i32>) {
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let all = format!("{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{:?}: {all}", output.status);
    let in_force = said
        .lines()
        .find_map(|line| line.strip_prefix("IN FORCE\t"));
    let tries = said.lines().filter_map(|line| {
        let mut words = line.strip_prefix("TRIED\t")?.split('\t');
        let (thread, what) = (words.next()?.to_owned(), words.next()?.to_owned());
        Some(((thread, what), words.next()?.parse().ok()?))
    });
    let tries = tries.collect();
    (in_force.expect(&all).to_owned(), tries)
}

/// What this kernel's landlock knows: `landlock_create_ruleset(2)`.
fn landlock_version() -> c_long {
    call(libc::SYS_landlock_create_ruleset, [0, 0, 1, 0, 0, 0]).unwrap_or_default()
}

/// Enters the sandbox with `measures`, tries everything, and checks what came of it.
fn check(measures: &[Measure]) {
    let confined = Confined::create();
    let words: Vec<_> = measures.iter().map(|each| each.label()).collect();
    let (in_force, tries) = told(&confined.run("inside", &format!("{words:?}")));
    assert_eq!(in_force, words.join(","), "all of them are to be had here");
    let measures: BTreeSet<_> = measures.iter().collect();
    let is_root = rustix::process::geteuid().is_root();
    for (what, _) in ALLOWED {
        assert_eq!(
            tries[&("entered".to_owned(), (*what).to_owned())],
            0,
            "{what}: {tries:?}"
        );
    }
    let mut refused = 0;
    for each in FORBIDDEN {
        for thread in ["entered", "later", "bystander"] {
            let Some(found) = tries.get(&(thread.to_owned(), each.name.to_owned())) else {
                continue;
            };
            let holds = |(measure, _): &&(Measure, i32)| {
                // The others are each thread's own, and those that were there before have none of it.
                let is_known =
                    each.name != SIGNAL || *measure != Landlock || landlock_version() >= 6;
                measures.contains(measure)
                    && is_known
                    && (thread != "bystander" || *measure == SystemCalls)
            };
            match each.by.iter().find(holds) {
                Some((measure, error)) => {
                    assert_eq!(found, error, "{} by {measure:?}, {thread}", each.name);
                    refused += 1;
                }
                // Who has given capabilities away is root in name.
                None if !each.is_roots || (is_root && !measures.contains(&Capabilities)) => {
                    assert_eq!(*found, 0, "{} with {measures:?}, {thread}", each.name);
                }
                None => {}
            }
        }
    }
    assert_eq!(
        refused > 0,
        measures.iter().any(|each| **each != NoNewPrivileges)
    );
}

#[test]
fn what_is_forbidden_fails_in_the_sandbox() {
    check(&Measure::ALL);
}

#[test]
fn all_of_it_works_without_the_sandbox() {
    check(&[]);
}

#[test]
fn without_the_filter_of_system_calls_the_other_measures_hold() {
    check(&[Capabilities, NoNewPrivileges, Landlock]);
}

#[test]
fn without_landlock_the_other_measures_hold() {
    check(&[Capabilities, NoNewPrivileges, SystemCalls]);
}

#[test]
fn without_dropped_capabilities_the_other_measures_hold() {
    check(&[NoNewPrivileges, Landlock, SystemCalls]);
}

#[test]
fn without_a_ban_on_new_privileges_capabilities_still_go() {
    check(&[Capabilities]);
}

#[test]
#[ignore = "started by the others, in a process of its own"]
fn inside_without_any_right() {
    // An address that nobody else is at.
    let bind = || TcpListener::bind("127.99.80.70:1").map(drop);
    tell("before", "bind", &bind());
    let needs = Needs {
        capabilities: CapabilitySet::empty(),
        files: Vec::new(),
        abstract_sockets: false,
        raw_sockets: false,
    };
    let outcome = confine::apply(&[Capabilities].into(), &needs);
    let _ = writeln!(io::stdout(), "\nIN FORCE\t{}", outcome.in_force.len());
    tell("entered", "bind", &bind());
}

#[test]
fn a_port_below_1024_takes_the_right_to_it() {
    let confined = Confined::create();
    let (in_force, tries) = told(&confined.run("inside_without_any_right", "true"));
    assert_eq!(in_force, "1");
    let tried = |when: &str| tries[&(when.to_owned(), "bind".to_owned())];
    let refused = if rustix::process::geteuid().is_root() {
        0
    } else {
        EACCES
    };
    assert_eq!(tried("before"), refused);
    assert_eq!(tried("entered"), EACCES);
}

#[test]
#[ignore = "started by the others, in a process of its own"]
fn inside_where_something_is_missing() {
    let needs = Needs {
        capabilities: CapabilitySet::empty(),
        files: Vec::new(),
        abstract_sockets: false,
        raw_sockets: false,
    };
    // A kernel without landlock, one where it is switched off, and a surrounding that lets nobody change capabilities.
    for (missing, error) in [
        (libc::SYS_landlock_create_ruleset, ENOSYS),
        (libc::SYS_landlock_create_ruleset, libc::EOPNOTSUPP),
        (libc::SYS_capset, EPERM),
    ] {
        let rules = [(missing, Vec::new())].into();
        let refuse = SeccompAction::Errno(error.cast_unsigned());
        let architecture = std::env::consts::ARCH.try_into().unwrap();
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, architecture);
        let filter: BpfProgram = filter.unwrap().try_into().unwrap();
        seccompiler::apply_filter(&filter).unwrap();
        let outcome = confine::apply(&[Capabilities, NoNewPrivileges, Landlock].into(), &needs);
        for refused in outcome.refused {
            let _ = writeln!(io::stdout(), "\nREFUSED\t{refused}\t{}", refused.remedy);
        }
        let labels: Vec<_> = outcome.in_force.iter().map(|each| each.label()).collect();
        let _ = writeln!(io::stdout(), "\nIN FORCE\t{}", labels.join(","));
    }
}

#[test]
fn what_cannot_be_had_is_told_with_its_remedy_and_the_rest_is_taken() {
    let confined = Confined::create();
    let output = confined.run("inside_where_something_is_missing", "true");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let of = |word: &str| -> Vec<String> {
        let lines = said.lines().filter_map(|line| line.strip_prefix(word));
        lines.map(Into::into).collect()
    };
    let refused = of("REFUSED\t");
    let expected = [
        ["landlock: the kernel does not have it", "Linux 5.13"],
        ["landlock: the kernel has it and it is switched off", "lsm="],
        ["landlock: the kernel has it and it is switched off", "lsm="],
        ["capabilities: Operation not permitted", "capset"],
    ];
    assert_eq!(refused.len(), expected.len(), "{said}");
    for (refused, words) in refused.iter().zip(expected) {
        assert!(words.iter().all(|word| refused.contains(word)), "{refused}");
    }
    let taken = "capabilities,no-new-privileges";
    assert_eq!(of("IN FORCE\t"), [taken, taken, "no-new-privileges"]);
}

#[test]
#[ignore = "started by the others, in a process of its own"]
fn inside_and_aborting() {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Core);
    let raised = rustix::process::Rlimit {
        current: limit.maximum,
        ..limit
    };
    rustix::process::setrlimit(rustix::process::Resource::Core, raised).unwrap();
    let folder = PathBuf::from(std::env::var_os(FOLDER).unwrap());
    std::env::set_current_dir(folder.join("home/state")).unwrap();
    let _ = enter();
    std::process::abort();
}

#[test]
fn an_abort_ends_the_process_as_ever_and_leaves_its_memory_where_it_may_write() {
    let confined = Confined::create();
    let output = confined.run("inside_and_aborting", "true");
    assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{output:?}");
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    let limit = rustix::process::getrlimit(rustix::process::Resource::Core).maximum;
    // Elsewhere the system puts it away, and does not ask this process where.
    if !pattern.starts_with(['|', '/']) && limit != Some(0) {
        assert!(output.status.core_dumped(), "{output:?}");
    }
}
