//! How the demo is shown: a live screen on a terminal, plain lines elsewhere. Fits 80×24.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Write};
use std::time::{Duration, Instant};

use pinfold_loadtest::{background, partner};

use super::lines::Lines;
use super::script::milliseconds;
use super::stage::{SPREADING, STUBBORN, USERS};
use crate::pool::select::Standing;
use crate::snapshot::Snapshot;

/// What there is to see at one moment.
pub(super) struct Scene<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) conditions: &'a BTreeMap<String, &'static str>,
    pub(super) stubborn: partner::Stats,
    pub(super) spreading: partner::Stats,
    pub(super) users: background::Stats,
}

/// The screen.
#[derive(Debug)]
pub(super) struct View {
    log: Lines,
    is_live: bool,
    length: Duration,
    start: Instant,
    told: VecDeque<String>,
}

impl View {
    pub(super) fn new(log: Lines, is_live: bool, length: Duration) -> Self {
        if is_live {
            // The alternate screen, without a cursor; `Drop` gives the terminal back.
            emit("\x1b[?1049h\x1b[?25l");
        }
        Self {
            log,
            is_live,
            length,
            start: Instant::now(),
            told: VecDeque::new(),
        }
    }

    /// Something happened.
    pub(super) fn tell(&mut self, text: &str) {
        let line = format!("{}  {text}", clock(self.start.elapsed()));
        if !self.is_live {
            emit(&format!("{line}\n"));
        }
        if self.told.len() == TOLD_MAX {
            self.told.pop_front();
        }
        self.told.push_back(line);
    }

    pub(super) fn draw(&mut self, scene: &Scene<'_>) {
        if self.is_live {
            let lines = self.screen(scene);
            let text: String = lines
                .iter()
                .map(|line| format!("{line}\x1b[K\r\n"))
                .collect();
            emit(&format!("\x1b[H{text}\x1b[J"));
        }
    }

    /// The curtain falls: what stays on the terminal.
    pub(super) fn finish(mut self, sentences: &[String]) {
        self.leave();
        let mut text = String::from("\n");
        if self.was_live() {
            text.extend(self.told.iter().map(|line| format!("{line}\n")));
            text.push('\n');
        }
        text.extend(sentences.iter().map(|line| format!("{line}\n")));
        emit(&text);
    }

    fn screen(&self, scene: &Scene<'_>) -> Vec<String> {
        let now = clock(self.start.elapsed().min(self.length));
        let mut lines = vec![
            format!(
                "{BOLD}pinfold demo{PLAIN}   {now} of {}",
                clock(self.length)
            ),
            String::new(),
            format!("{DIM}NODE    IS        PINFOLD SAYS  SESSIONS{PLAIN}"),
        ];
        lines.extend(nodes(scene));
        lines.push(String::new());
        lines.push(format!(
            "{DIM}WHO         KIND                          ON      REPLIES  LONGEST SILENCE{PLAIN}"
        ));
        lines.push(partner_line(
            STUBBORN,
            "OCS 2007, never fails over",
            &scene.stubborn,
        ));
        lines.push(partner_line(
            SPREADING,
            "Lync 2013, two connections",
            &scene.spreading,
        ));
        lines.push(users_line(&scene.users));
        lines.push(String::new());
        lines.push(format!("{DIM}WHAT HAPPENED{PLAIN}"));
        lines.extend(self.told.iter().map(|line| fit(line)));
        lines.push(String::new());
        lines.push(format!("{DIM}WHAT PINFOLD LOGGED{PLAIN}"));
        let room = HEIGHT.saturating_sub(lines.len() + 1);
        lines.extend(self.log.latest(room).iter().map(|line| fit(line)));
        lines
    }

    fn was_live(&self) -> bool {
        !self.told.is_empty() && io::IsTerminal::is_terminal(&io::stdout())
    }

    fn leave(&mut self) {
        if self.is_live {
            self.is_live = false;
            emit("\x1b[?25h\x1b[?1049l");
        }
    }
}

impl Drop for View {
    fn drop(&mut self) {
        self.leave();
    }
}

fn nodes(scene: &Scene<'_>) -> Vec<String> {
    let Some(listener) = scene.snapshot.listeners.first() else {
        return Vec::new();
    };
    let line = |seat: &crate::snapshot::Seat| {
        let endpoint = &seat.endpoint;
        let condition = scene
            .conditions
            .get(&*endpoint.node)
            .copied()
            .unwrap_or("well");
        let sessions = endpoint.sessions();
        let bar = "▪".repeat(usize::try_from(sessions).unwrap_or(0).min(40));
        let (says, colour) = match endpoint.standing() {
            Standing::Takes => ("up", GREEN),
            Standing::Suspect => ("suspect", YELLOW),
            Standing::Held => ("up, held", YELLOW),
            Standing::Draining => ("draining", YELLOW),
            Standing::Unproven => ("unproven", YELLOW),
            Standing::Down => ("down", RED),
            Standing::Never => ("disabled", RED),
        };
        let is = if condition == "well" { PLAIN } else { RED };
        format!(
            "{:<7} {is}{condition:<9}{PLAIN} {colour}{says:<13}{PLAIN} {sessions:>3}  {bar}",
            endpoint.node
        )
    };
    listener.nodes.iter().map(line).collect()
}

fn partner_line(name: &str, kind: &str, stats: &partner::Stats) -> String {
    let node = if stats.connected {
        stats.node.as_deref().unwrap_or("-")
    } else {
        "cut off"
    };
    let colour = if stats.connected { PLAIN } else { RED };
    let silence = milliseconds(stats.longest_silence);
    let replies = stats.replies;
    format!("{name:<11} {kind:<29} {colour}{node:<7}{PLAIN} {replies:>7}  {silence:>10}")
}

fn users_line(stats: &background::Stats) -> String {
    let standing = stats.standing();
    let disturbed: u64 = stats.disturbed.values().sum();
    let kind = format!("{standing} of {USERS} sessions stand");
    format!(
        "{:<11} {kind:<29} {:<7} {:>7}  {disturbed} were cut",
        "users", "", stats.replies
    )
}

fn clock(elapsed: Duration) -> String {
    let seconds = elapsed.as_secs();
    format!("{:02}:{:02}", seconds / 60, seconds % 60)
}

fn fit(line: &str) -> String {
    line.chars().take(WIDTH).collect()
}

/// A closed pipe is the reader's choice, not an error.
fn emit(text: &str) {
    let mut stdout = io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes());
    let _ = stdout.flush();
}

const WIDTH: usize = 79;
const HEIGHT: usize = 24;
const TOLD_MAX: usize = 6;
const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const PLAIN: &str = "\x1b[0m";
const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
