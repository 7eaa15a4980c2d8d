//! What can be asked of a simulated node from outside, and how it is written.
//!
//! One command a line. Owns the grammar, which the control socket and scripts share, and scripts;
//! who obeys is [`SimulatedEdge::obey`](super::SimulatedEdge::obey).

use std::str::FromStr;
use std::time::Duration;

use crate::scenario::Span;

/// The grammar, for people.
pub const GRAMMAR: &str = "\
freeze              fall silent; the kernel still accepts
thaw                go on after `freeze`
kill                reset all connections; the port refuses
revive              listen again after `kill`
refuse on|off       the port refuses, what stands goes on
refuse-tls on|off   reset connections that open with TLS
mute on|off         accept connections and datagrams and say nothing to them
slow TIME           pause so long before each answer to a line; `0ms` ends it
die COUNT           reset the next COUNT connections before their first byte
reset-after BYTES   reset each connection once so many bytes were sent on it; `off` ends it
stats               tell the counters as one line of JSON
";

/// One command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Fall silent like a stopped process.
    Freeze,
    /// Go on.
    Thaw,
    /// Reset everything and refuse.
    Kill,
    /// Listen again.
    Revive,
    /// Whether the port refuses.
    Refuse(bool),
    /// Whether TLS is refused.
    RefuseTls(bool),
    /// Whether new connections and datagrams are left without an answer.
    Mute(bool),
    /// The pause before each answer to a line.
    Slow(Duration),
    /// So many connections are reset before their first byte.
    Die(u32),
    /// After so many bytes a connection is reset.
    ResetAfter(Option<u64>),
    /// Tell the counters.
    Stats,
}

impl FromStr for Command {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let mut words = line.split_ascii_whitespace();
        let (verb, argument) = (words.next().unwrap_or_default(), words.next());
        if let Some(more) = words.next() {
            return Err(format!("\"{more}\" is too much after \"{verb}\""));
        }
        let alone = |command: Self| match argument {
            None => Ok(command),
            Some(word) => Err(format!("\"{verb}\" stands alone, without \"{word}\"")),
        };
        match verb {
            "freeze" => alone(Self::Freeze),
            "thaw" => alone(Self::Thaw),
            "kill" => alone(Self::Kill),
            "revive" => alone(Self::Revive),
            "stats" => alone(Self::Stats),
            "refuse" => switch(verb, argument).map(Self::Refuse),
            "refuse-tls" => switch(verb, argument).map(Self::RefuseTls),
            "mute" => switch(verb, argument).map(Self::Mute),
            "slow" => {
                let span: Span = wanted(verb, "a length of time", argument)?.parse()?;
                Ok(Self::Slow(span.0))
            }
            "die" => number(verb, argument).map(Self::Die),
            "reset-after" if argument == Some("off") => Ok(Self::ResetAfter(None)),
            "reset-after" => number(verb, argument).map(|bytes| Self::ResetAfter(Some(bytes))),
            _ => Err(format!(
                "\"{verb}\" is not a command; these are: {}",
                verbs().collect::<Vec<_>>().join(", ")
            )),
        }
    }
}

fn verbs() -> impl Iterator<Item = &'static str> {
    GRAMMAR.lines().filter_map(|line| line.split(' ').next())
}

fn wanted<'a>(verb: &str, what: &str, argument: Option<&'a str>) -> Result<&'a str, String> {
    argument.ok_or_else(|| format!("\"{verb}\" wants {what}"))
}

fn switch(verb: &str, argument: Option<&str>) -> Result<bool, String> {
    match argument {
        Some("on") => Ok(true),
        Some("off") => Ok(false),
        _ => Err(format!("\"{verb}\" wants \"on\" or \"off\"")),
    }
}

fn number<T: FromStr>(verb: &str, argument: Option<&str>) -> Result<T, String> {
    let word = wanted(verb, "a number", argument)?;
    let parsed = word.parse();
    parsed.map_err(|_| format!("\"{verb}\" wants a number, not \"{word}\""))
}

/// One line of a script: when, since the node's start, and what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cue {
    /// Since the node's start.
    pub at: Duration,
    /// What then.
    pub command: Command,
}

/// Reads a script: lines of `TIME COMMAND`, empty ones and those that begin with `#` left out. The
/// cues come in the order of their times.
///
/// # Errors
/// The first line that is none, with its number.
pub fn script(text: &str) -> Result<Vec<Cue>, String> {
    let mut cues = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (time, command) = line.split_once(' ').unwrap_or((line, ""));
        let cue = time.parse().and_then(|Span(at)| {
            let command = command.parse()?;
            Ok(Cue { at, command })
        });
        cues.push(cue.map_err(|error: String| format!("line {number}: {error}"))?);
    }
    cues.sort_by_key(|cue| cue.at);
    Ok(cues)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_documented_command_is_understood() {
        let mut count = 0;
        for line in GRAMMAR.lines() {
            let (form, meaning) = line.split_at(20);
            assert!(
                meaning.starts_with(|c: char| c.is_ascii_lowercase()),
                "{line}"
            );
            let example = form
                .trim()
                .replace("on|off", "on")
                .replace("TIME", "250ms")
                .replace("COUNT", "3")
                .replace("BYTES", "1000");
            example.parse::<Command>().unwrap();
            count += 1;
        }
        assert_eq!(count, 11);
    }

    #[test]
    fn commands_mean_what_they_say() {
        for (line, expected) in [
            ("freeze", Command::Freeze),
            ("  refuse   off ", Command::Refuse(false)),
            ("mute on", Command::Mute(true)),
            ("slow 2s", Command::Slow(Duration::from_secs(2))),
            ("die 4294967295", Command::Die(u32::MAX)),
            ("reset-after 0", Command::ResetAfter(Some(0))),
            ("reset-after off", Command::ResetAfter(None)),
        ] {
            assert_eq!(line.parse(), Ok(expected), "{line}");
        }
    }

    #[test]
    fn mistakes_are_told_with_what_would_be_right() {
        for (line, expected) in [
            ("", "these are: freeze, thaw"),
            ("frieze", "\"frieze\" is not a command"),
            ("freeze now", "stands alone"),
            ("slow 2s 3s", "\"3s\" is too much"),
            ("slow", "wants a length of time"),
            ("slow 2", "write it like"),
            ("refuse maybe", "\"on\" or \"off\""),
            ("die -1", "wants a number"),
            ("die 4294967296", "wants a number"),
        ] {
            let error = line.parse::<Command>().unwrap_err();
            assert!(error.contains(expected), "{line}: {error}");
        }
    }

    #[test]
    fn a_script_is_sorted_by_time_and_its_first_mistake_has_a_line() {
        let cues = script("# a bad day\n\n2s thaw\n500ms freeze\n").unwrap();
        let order: Vec<_> = cues.iter().map(|cue| cue.command).collect();
        assert_eq!(order, [Command::Freeze, Command::Thaw]);
        for (text, expected) in [
            (
                "1s freeze\nfreeze",
                "line 2: \"freeze\" is not a length of time",
            ),
            ("1s", "line 1: \"\" is not a command"),
        ] {
            let error = script(text).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_line_is_too_strange(line in any::<String>(), verb in 0_usize..11) {
            let _ = line.parse::<Command>();
            let verb = verbs().nth(verb).unwrap_or_default();
            let _ = format!("{verb} {line}").parse::<Command>();
            let _ = script(&line);
            let _ = script(&format!("1s {verb} {line}"));
        }
    }
}
