//! Which system calls are answered, and on which condition.
//!
//! Found by reasoning and by watching the whole suite. What is missing is missing on purpose: starting programs and
//! processes (`execve`, `fork`, `clone` save for threads), looking into others (`ptrace`, `process_vm_readv`), becoming
//! somebody else, namespaces and mounts, `bpf`, `io_uring`, `userfaultfd`, keys, modules, and making code (`PROT_EXEC`).

use libc::c_long;

/// From this number on calls are numbered alike on all architectures; the first of them came with Linux 5.1.
pub(super) const NEWER: c_long = 424;

/// Answered whatever their arguments.
pub(super) const ALWAYS: &[c_long] = &[
    // What moves bytes.
    libc::SYS_epoll_pwait,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_recvfrom,
    libc::SYS_recvmmsg,
    libc::SYS_recvmsg,
    libc::SYS_sendmmsg,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_splice,
    libc::SYS_write,
    libc::SYS_writev,
    // Sockets.
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_bind,
    libc::SYS_connect,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_listen,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
    // Descriptors, and waiting for them.
    libc::SYS_close,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_eventfd2,
    libc::SYS_pipe2,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    // Files; which, landlock says.
    libc::SYS_copy_file_range,
    libc::SYS_faccessat,
    libc::SYS_fadvise64,
    libc::SYS_fallocate,
    libc::SYS_fdatasync,
    libc::SYS_flock,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_fsync,
    libc::SYS_ftruncate,
    libc::SYS_getcwd,
    libc::SYS_getdents64,
    libc::SYS_lseek,
    libc::SYS_mkdirat,
    libc::SYS_newfstatat,
    libc::SYS_openat,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_readlinkat,
    libc::SYS_renameat2,
    libc::SYS_sendfile,
    libc::SYS_statfs,
    libc::SYS_statx,
    libc::SYS_umask,
    libc::SYS_unlinkat,
    // Memory; not making code.
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_mremap,
    libc::SYS_munmap,
    // Time.
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_nanosleep,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_gettime,
    libc::SYS_timerfd_settime,
    // Threads and signals of this process.
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_getcpu,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_sigaltstack,
    // What the process may know of itself and the machine.
    libc::SYS_capget,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getrandom,
    libc::SYS_getrusage,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_sysinfo,
    libc::SYS_uname,
    // Newer names of what stands above, which libraries try first.
    libc::SYS_epoll_pwait2,
    libc::SYS_faccessat2,
];

/// The same by older calls, which newer architectures lack.
#[cfg(target_arch = "x86_64")]
pub(super) const ALWAYS_OF_OLD: &[c_long] = &[
    libc::SYS_access,
    libc::SYS_dup2,
    libc::SYS_epoll_create,
    libc::SYS_epoll_wait,
    libc::SYS_eventfd,
    libc::SYS_getrlimit,
    libc::SYS_lstat,
    libc::SYS_mkdir,
    libc::SYS_open,
    libc::SYS_pipe,
    libc::SYS_poll,
    libc::SYS_readlink,
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_select,
    libc::SYS_stat,
    libc::SYS_time,
    libc::SYS_unlink,
];

/// The same by older calls: `renameat`, by which the C library renames. `asm-generic/unistd.h`; libc lacks it.
#[cfg(not(target_arch = "x86_64"))]
pub(super) const ALWAYS_OF_OLD: &[c_long] = &[38];

/// What must hold of an argument.
#[derive(Clone, Copy, Debug)]
pub(super) struct Condition {
    /// Which one, from 0.
    pub(super) argument: u8,
    /// These bits are looked at.
    pub(super) mask: u32,
    /// So they must be.
    pub(super) value: u32,
}

/// A system call, and what may be asked of it: one of several sets of conditions.
pub(super) type OnCondition = (c_long, Vec<Vec<Condition>>);

/// Calls that are answered for some arguments only.
pub(super) fn on_condition(own_pid: u32, raw_sockets: bool) -> Vec<OnCondition> {
    let mut calls = vec![
        (libc::SYS_clone, vec![vec![within(0, KINDS, THREAD)]]),
        (libc::SYS_fcntl, one_of(1, FCNTL)),
        (libc::SYS_ioctl, one_of(1, IOCTL)),
        (libc::SYS_prctl, one_of(0, PRCTL)),
        // No code is made, or made of data.
        (libc::SYS_mmap, vec![vec![without(2, libc::PROT_EXEC)]]),
        (libc::SYS_mprotect, vec![vec![without(2, libc::PROT_EXEC)]]),
        // No file lets others be who this process is.
        (libc::SYS_fchmod, vec![vec![within(1, SET_ID, 0)]]),
        (libc::SYS_fchmodat, vec![vec![within(2, SET_ID, 0)]]),
        // Its own limits, and its own end.
        (libc::SYS_prlimit64, vec![vec![exactly(0, 0)]]),
        (libc::SYS_tgkill, vec![vec![exactly(0, own_pid)]]),
        (libc::SYS_socket, sockets(raw_sockets)),
        (
            libc::SYS_socketpair,
            vec![vec![exactly(0, bits(libc::AF_UNIX))]],
        ),
    ];
    #[cfg(target_arch = "x86_64")]
    calls.push((libc::SYS_chmod, vec![vec![within(1, SET_ID, 0)]]));
    calls
}

/// Of the Internet protocols those that clients, nodes and DNS speak, and where nodes see the clients the raw ones that
/// speak in the clients' names and hear what ICMP says of it. The rest is for systemd and administrators.
fn sockets(raw: bool) -> Vec<Vec<Condition>> {
    let mut allowed = vec![vec![exactly(0, bits(libc::AF_UNIX))]];
    let ways = [
        (libc::SOCK_STREAM, libc::IPPROTO_IP),
        (libc::SOCK_STREAM, libc::IPPROTO_TCP),
        (libc::SOCK_DGRAM, libc::IPPROTO_IP),
        (libc::SOCK_DGRAM, libc::IPPROTO_UDP),
    ];
    let raw_ways = [
        (libc::SOCK_RAW, libc::IPPROTO_UDP),
        (libc::SOCK_RAW, libc::IPPROTO_ICMP),
        (libc::SOCK_RAW, libc::IPPROTO_ICMPV6),
    ];
    let raw_ways = raw_ways.iter().filter(|_| raw);
    for (kind, protocol) in ways.iter().chain(raw_ways) {
        for family in [libc::AF_INET, libc::AF_INET6] {
            allowed.push(vec![
                exactly(0, bits(family)),
                within(1, SOCKET_KIND, bits(*kind)),
                exactly(2, bits(*protocol)),
            ]);
        }
    }
    allowed
}

fn one_of(argument: u8, values: &[u32]) -> Vec<Vec<Condition>> {
    let values = values.iter();
    values
        .map(|&value| vec![exactly(argument, value)])
        .collect()
}

const fn exactly(argument: u8, value: u32) -> Condition {
    within(argument, u32::MAX, value)
}

const fn without(argument: u8, flag: libc::c_int) -> Condition {
    within(argument, bits(flag), 0)
}

const fn within(argument: u8, mask: u32, value: u32) -> Condition {
    Condition {
        argument,
        mask,
        value,
    }
}

const fn bits(flag: libc::c_int) -> u32 {
    flag.cast_unsigned()
}

/// What tells a thread of this process from anything else that `clone(2)` makes.
const KINDS: u32 = THREAD
    | bits(
        libc::CLONE_NEWCGROUP
            | libc::CLONE_NEWIPC
            | libc::CLONE_NEWNET
            | libc::CLONE_NEWNS
            | libc::CLONE_NEWPID
            | libc::CLONE_NEWUSER
            | libc::CLONE_NEWUTS
            | libc::CLONE_PTRACE
            | libc::CLONE_VFORK,
    );
const THREAD: u32 = bits(libc::CLONE_VM | libc::CLONE_SIGHAND | libc::CLONE_THREAD);

/// `SOCK_TYPE_MASK` in `linux/net.h`: what is left are `SOCK_CLOEXEC` and `SOCK_NONBLOCK`.
const SOCKET_KIND: u32 = 0xf;

const SET_ID: u32 = libc::S_ISUID | libc::S_ISGID;

/// Flags, duplicates, locks and the sizes of pipes. Not whom a signal tells.
const FCNTL: &[u32] = &[
    bits(libc::F_DUPFD),
    bits(libc::F_DUPFD_CLOEXEC),
    bits(libc::F_GETFD),
    bits(libc::F_SETFD),
    bits(libc::F_GETFL),
    bits(libc::F_SETFL),
    bits(libc::F_GETLK),
    bits(libc::F_SETLK),
    bits(libc::F_SETLKW),
    bits(libc::F_OFD_GETLK),
    bits(libc::F_OFD_SETLK),
    bits(libc::F_OFD_SETLKW),
    bits(libc::F_GETPIPE_SZ),
    bits(libc::F_SETPIPE_SZ),
];

/// How much there is to read, whether to wait for it, and whether standard error is a terminal. Nothing of interfaces.
/// As `asm-generic/ioctls.h` numbers them; libc has them in another type on each system.
const IOCTL: &[u32] = &[FIONBIO, FIONREAD, TCGETS, TIOCGWINSZ];
const FIONBIO: u32 = 0x5421;
const FIONREAD: u32 = 0x541b;
const TCGETS: u32 = 0x5401;
const TIOCGWINSZ: u32 = 0x5413;

/// Names of threads and of memory.
const PRCTL: &[u32] = &[
    bits(libc::PR_SET_NAME),
    bits(libc::PR_GET_NAME),
    bits(libc::PR_SET_VMA),
];
