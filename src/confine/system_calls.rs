//! A filter of system calls: what is not in the `table` is not answered.
//!
//! Nothing is killed for a call. A library that is updated below this program may try what it did not try before, and
//! must get an error that it can live with: `EPERM`; `ENOSYS` for what came with Linux 5.1 or later, because libraries
//! do without it on older kernels. (Calls by the gate of another architecture end the process: no library makes them.)
//!
//! The kernel looks at calls that are allowed whatever their arguments once, and remembers (`seccomp_cache`, since
//! Linux 5.11): they cost the same however long the table is. So those that move bytes stand there without a condition.

mod table;

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter_all_threads, sock_filter,
};

use self::table::{Condition, NEWER};
use super::{Measure, Refused};

/// Filters the calls of all threads of this process.
pub(super) fn restrict(raw_sockets: bool) -> Result<(), Refused> {
    let refused = |cause: String| Refused {
        measure: Measure::SystemCalls,
        cause,
        remedy: "use a kernel with CONFIG_SECCOMP_FILTER, and let whatever starts it allow seccomp(2)",
    };
    let program = program(raw_sockets).map_err(refused)?;
    apply_filter_all_threads(&program).map_err(|error| refused(error.to_string()))
}

/// What says of newer calls that there are none, and then refuses all that is not in the table.
fn program(raw_sockets: bool) -> Result<BpfProgram, String> {
    let architecture = TargetArch::try_from(std::env::consts::ARCH).map_err(|e| e.to_string())?;
    let own_pid = std::process::id();
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for &call in table::ALWAYS.iter().chain(table::ALWAYS_OF_OLD) {
        rules.insert(call, Vec::new());
    }
    for (call, conditions) in table::on_condition(own_pid, raw_sockets) {
        let conditions = conditions.iter().map(|all| rule(all));
        let conditions = conditions.collect::<Result<_, _>>();
        rules.insert(call, conditions.map_err(|error| error.to_string())?);
    }
    let newer = rules.keys().copied().filter(|call| *call >= NEWER);
    let mut program = no_such_calls(&newer.collect::<Vec<_>>());
    let refuse = SeccompAction::Errno(errno(libc::EPERM));
    let filter = SeccompFilter::new(rules, refuse, SeccompAction::Allow, architecture);
    let filter = filter.and_then(BpfProgram::try_from);
    program.append(&mut filter.map_err(|error| error.to_string())?);
    Ok(program)
}

/// All of these must hold.
fn rule(conditions: &[Condition]) -> Result<SeccompRule, seccompiler::BackendError> {
    let conditions = conditions.iter().map(|condition| {
        // The upper half of these arguments is nothing that the kernel looks at.
        let operator = SeccompCmpOp::MaskedEq(u64::from(condition.mask));
        SeccompCondition::new(
            condition.argument,
            SeccompCmpArgLen::Dword,
            operator,
            u64::from(condition.value),
        )
    });
    SeccompRule::new(conditions.collect::<Result<_, _>>()?)
}

/// Answers calls from [`NEWER`] on, save `known`, by `ENOSYS`, and leaves all others to what follows: `seccomp(2)`.
fn no_such_calls(known: &[i64]) -> BpfProgram {
    let number = |call: i64| u32::try_from(call).unwrap_or(u32::MAX);
    let step = |code: u32, jt: usize, jf: usize, k| sock_filter {
        code: u16::try_from(code).unwrap_or_default(),
        jt: u8::try_from(jt).unwrap_or_default(),
        jf: u8::try_from(jf).unwrap_or_default(),
        k,
    };
    let load = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    let at_least = libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K;
    let equal = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    let end = libc::BPF_RET | libc::BPF_K;
    // The number of the call is the first word of what a filter sees. A jump counts the steps that it leaves out.
    let mut program = vec![
        step(load, 0, 0, 0),
        step(at_least, 0, known.len() + 1, number(NEWER)),
    ];
    for (place, call) in known.iter().enumerate() {
        program.push(step(equal, known.len() - place, 0, number(*call)));
    }
    let no_such_call = libc::SECCOMP_RET_ERRNO | errno(libc::ENOSYS);
    program.push(step(end, 0, 0, no_such_call));
    program
}

fn errno(number: libc::c_int) -> u32 {
    u32::try_from(number).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn what_moves_bytes_is_allowed_whatever_its_arguments() {
        let with: Vec<_> = table::on_condition(1, true)
            .into_iter()
            .map(|(call, _)| call)
            .collect();
        for call in [
            libc::SYS_epoll_pwait,
            libc::SYS_recvfrom,
            libc::SYS_sendto,
            libc::SYS_read,
            libc::SYS_write,
            libc::SYS_writev,
            libc::SYS_splice,
            libc::SYS_accept4,
            libc::SYS_recvmmsg,
            libc::SYS_sendmmsg,
        ] {
            assert!(
                table::ALWAYS.contains(&call) && !with.contains(&call),
                "{call}"
            );
        }
    }

    #[test]
    fn no_call_stands_in_the_table_twice() {
        let with = table::on_condition(1, true);
        let with = with.iter().map(|(call, _)| call);
        let all = table::ALWAYS.iter().chain(table::ALWAYS_OF_OLD).chain(with);
        let mut seen = BTreeSet::new();
        for call in all {
            assert!(seen.insert(call), "{call}");
        }
    }

    #[test]
    fn raw_sockets_make_the_filter_longer_and_it_stays_within_what_the_kernel_takes() {
        let (without, with) = (program(false).unwrap(), program(true).unwrap());
        assert!(without.len() < with.len());
        assert!(with.len() < 4096, "BPF_MAXINSNS: {}", with.len());
    }
}
