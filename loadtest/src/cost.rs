//! What a balancer costs, by /proc: processor time, memory, descriptors.
//!
//! Owns reading a process and its children at one moment. Sources: proc(5); the kernel's
//! Documentation/scheduler/sched-stats.rst for `schedstat`, whose first figure is the time on a
//! processor in nanoseconds. On loopback the kernel delivers packets within the sender's system
//! calls, so their processing is charged to whoever sent them: every balancer alike.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::time::Duration;

/// More processes than any balancer here has.
const PROCESSES_MAX: usize = 256;

/// A balancer at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Processor time of each thread since its start, by thread id.
    pub threads: BTreeMap<u32, Duration>,
    /// Memory that it alone holds, plus its share of what it shares with others, in bytes.
    pub resident_bytes: u64,
    /// Open descriptors.
    pub descriptors: u64,
}

impl Cost {
    /// Reads the process `pid` and its descendants.
    ///
    /// # Errors
    /// There is no such process, or it belongs to somebody else.
    pub fn read(pid: u32) -> io::Result<Self> {
        let mut cost = Self::default();
        let mut waiting = vec![pid];
        for _ in 0..PROCESSES_MAX {
            let Some(pid) = waiting.pop() else {
                break;
            };
            match cost.add(pid) {
                Ok(children) => waiting.extend(children),
                // A child that has ended in between.
                Err(error) if is_gone(&error) && !cost.threads.is_empty() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(cost)
    }

    /// Processor time of all threads.
    #[must_use]
    pub fn processor(&self) -> Duration {
        self.threads.values().sum()
    }

    /// Keeps what threads had spent by `earlier` that have ended since; their last moments are lost.
    #[must_use]
    pub fn with_ended(mut self, earlier: &Self) -> Self {
        for (thread, time) in &earlier.threads {
            self.threads.entry(*thread).or_insert(*time);
        }
        self
    }

    /// Processor time of each thread since `before`, the busiest first.
    #[must_use]
    pub fn threads_since(&self, before: &Self) -> Vec<Duration> {
        let since = self.threads.iter().map(|(thread, time)| {
            let earlier = before.threads.get(thread).copied().unwrap_or_default();
            time.saturating_sub(earlier)
        });
        let mut since: Vec<_> = since.collect();
        since.sort_unstable_by(|one, other| other.cmp(one));
        since
    }

    /// Adds one process and tells its children.
    fn add(&mut self, pid: u32) -> io::Result<Vec<u32>> {
        let mut children = Vec::new();
        for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
            let thread = entry?.file_name();
            let Some(thread) = thread.to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            let task = format!("/proc/{pid}/task/{thread}");
            // A thread may end between the listing and the reading.
            let Some(text) = of_task(&task, "schedstat")? else {
                continue;
            };
            self.threads.insert(thread, on_processor(&text)?);
            let list = of_task(&task, "children")?.unwrap_or_default();
            children.extend(
                list.split_ascii_whitespace()
                    .filter_map(|pid| pid.parse::<u32>().ok()),
            );
        }
        let memory = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        self.resident_bytes += proportional(&memory)?;
        self.descriptors += fs::read_dir(format!("/proc/{pid}/fd"))?.count() as u64;
        Ok(children)
    }
}

/// A file of a thread; `None` if the thread has ended.
fn of_task(task: &str, file: &str) -> io::Result<Option<String>> {
    match fs::read_to_string(format!("{task}/{file}")) {
        Ok(text) => Ok(Some(text)),
        Err(error) if is_gone(&error) && !fs::exists(task)? => Ok(None),
        Err(error) => Err(io::Error::new(
            error.kind(),
            format!("{task}/{file}: {error}"),
        )),
    }
}

/// Whether an error says that the process or thread has ended.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
}

fn on_processor(schedstat: &str) -> io::Result<Duration> {
    let nanos = schedstat
        .split(' ')
        .next()
        .and_then(|first| first.parse().ok());
    nanos.map(Duration::from_nanos).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            "schedstat is not as proc(5) says",
        )
    })
}

fn proportional(smaps_rollup: &str) -> io::Result<u64> {
    let mut lines = smaps_rollup.lines();
    let line = lines.find_map(|line| line.strip_prefix("Pss:"));
    let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    let kib = kib.ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            "smaps_rollup is not as proc(5) says",
        )
    });
    Ok(kib? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_costs_something_and_more_later() {
        let before = Cost::read(std::process::id()).unwrap();
        assert!(before.resident_bytes > 100_000 && before.descriptors > 2);
        let mut sum = 0_u64;
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        let spent = loop {
            (0..1_000_000_u64)
                .for_each(|number| sum = sum.wrapping_add(std::hint::black_box(number)));
            let after = Cost::read(std::process::id()).unwrap();
            let spent = after.processor().saturating_sub(before.processor());
            if spent > Duration::from_millis(5) {
                break after.threads_since(&before);
            }
            assert!(std::time::Instant::now() < deadline, "{sum}");
        };
        assert!(spent.is_sorted_by(|one, other| one >= other));
    }

    #[test]
    fn children_are_counted_with_their_parent() {
        let mut child = std::process::Command::new("sh")
            .args(["-c", "sleep 30 & wait"])
            .spawn()
            .unwrap();
        let both = crate::process::wait_until(Duration::from_secs(10), || {
            let cost = Cost::read(child.id()).ok()?;
            (cost.threads.len() == 2).then_some(cost)
        });
        let grandchild = both
            .as_ref()
            .and_then(|cost| cost.threads.keys().max().copied());
        child.kill().unwrap();
        child.wait().unwrap();
        let pid = grandchild.and_then(|pid| rustix::process::Pid::from_raw(pid.cast_signed()));
        rustix::process::kill_process(pid.unwrap(), rustix::process::Signal::KILL).unwrap();
        assert!(both.is_some());
    }

    #[test]
    fn what_a_thread_spent_before_it_ended_is_kept() {
        let spent = |times: &[(u32, u64)]| Cost {
            threads: times
                .iter()
                .map(|(thread, millis)| (*thread, Duration::from_millis(*millis)))
                .collect(),
            ..Cost::default()
        };
        let (before, middle) = (spent(&[(1, 10)]), spent(&[(1, 20), (2, 50)]));
        let after = spent(&[(1, 30)]).with_ended(&middle);
        assert_eq!(after.processor(), Duration::from_millis(80));
        let since = after.threads_since(&before);
        assert_eq!(since, [50, 20].map(Duration::from_millis));
    }

    #[test]
    fn memory_that_is_not_told_is_an_error() {
        assert_eq!(proportional("Rss: 9 kB\nPss:   4 kB\n").unwrap(), 4096);
        proportional("Rss: 9 kB\n").unwrap_err();
        of_task("/proc/self/task/../", "no such file").unwrap_err();
    }

    #[test]
    fn a_process_that_is_gone_is_an_error() {
        Cost::read(u32::MAX - 1).unwrap_err();
    }
}
