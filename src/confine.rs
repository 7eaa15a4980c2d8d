//! Rights that this process gives away for good, so that whoever takes it over has little.
//!
//! Owns the four [measures](Measure) and how the kernel is told of them. Deliberately does not know what the process
//! needs: whoever calls says so, in [`Needs`]. What cannot be had is told and never stands in the way.
//!
//! Invariant: capabilities, `no_new_privs` and landlock hold for the thread that asks and for those that it starts
//! afterwards, so they are asked for while there is no other. The filter of system calls holds for all.

pub mod capabilities;
pub mod files;
pub mod system_calls;

use std::collections::BTreeSet;
use std::fmt;

pub use rustix::thread::CapabilitySet;

use self::files::Rule;

/// One way to give rights away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Measure {
    /// All capabilities but those that are needed later go: `capabilities(7)`.
    Capabilities,
    /// No program that this process might start has more rights than it: `PR_SET_NO_NEW_PRIVS(2const)`.
    NoNewPrivileges,
    /// Files outside a list are out of reach: `landlock(7)`.
    Landlock,
    /// Only system calls of a list are answered: `seccomp(2)`.
    SystemCalls,
}

impl Measure {
    /// All of them, in the order in which they are taken.
    pub const ALL: [Self; 4] = [
        Self::Capabilities,
        Self::NoNewPrivileges,
        Self::Landlock,
        Self::SystemCalls,
    ];

    /// Its word in the configuration, the log and the admin API.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Capabilities => "capabilities",
            Self::NoNewPrivileges => "no-new-privileges",
            Self::Landlock => "landlock",
            Self::SystemCalls => "system-calls",
        }
    }

    /// Whether the kernel takes it only of a process that has given up new privileges.
    #[must_use]
    pub const fn needs_no_new_privileges(self) -> bool {
        matches!(self, Self::Landlock | Self::SystemCalls)
    }
}

/// What the process cannot do without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needs {
    /// Capabilities that stay, as far as they are there.
    pub capabilities: CapabilitySet,
    /// Files that stay within reach.
    pub files: Vec<Rule>,
    /// Whether sockets of other processes that have no file, but a name of their own, stay within reach: `unix(7)`,
    /// abstract sockets.
    pub abstract_sockets: bool,
    /// Whether raw sockets may be opened.
    pub raw_sockets: bool,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Measures in force.
    pub in_force: Vec<Measure>,
    /// Those that are not, and why.
    pub refused: Vec<Refused>,
    /// What this kernel's landlock does not know; empty where it knows all, or is not in force.
    pub unknown_to_landlock: Vec<&'static str>,
}

/// A measure that could not be taken.
#[derive(Debug)]
pub struct Refused {
    /// Which.
    pub measure: Measure,
    /// Why.
    pub cause: String,
    /// What to do about it.
    pub remedy: &'static str,
}

impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.measure.label(), self.cause)
    }
}

/// Takes each of `measures` that can be taken. Cannot be undone.
#[must_use]
pub fn apply(measures: &BTreeSet<Measure>, needs: &Needs) -> Outcome {
    let mut outcome = Outcome::default();
    // Files are opened to be named to the kernel: before the rights go that may take. The filter comes last, since
    // it refuses what takes the others.
    let order = [
        Measure::NoNewPrivileges,
        Measure::Landlock,
        Measure::Capabilities,
        Measure::SystemCalls,
    ];
    for measure in order
        .into_iter()
        .filter(|measure| measures.contains(measure))
    {
        let taken = match measure {
            Measure::Capabilities => capabilities::keep(needs.capabilities),
            Measure::NoNewPrivileges => no_new_privileges(),
            Measure::Landlock => files::restrict(&needs.files, needs.abstract_sockets)
                .map(|unknown| outcome.unknown_to_landlock = unknown),
            Measure::SystemCalls => system_calls::restrict(needs.raw_sockets),
        };
        match taken {
            Ok(()) => outcome.in_force.push(measure),
            Err(refused) => outcome.refused.push(refused),
        }
    }
    outcome.in_force.sort_unstable();
    outcome
}

fn no_new_privileges() -> Result<(), Refused> {
    rustix::thread::set_no_new_privs(true).map_err(|cause| Refused {
        measure: Measure::NoNewPrivileges,
        cause: cause.to_string(),
        remedy: "run it on Linux, not on what only looks like it",
    })
}
