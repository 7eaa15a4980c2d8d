//! Standard output and standard error.

use std::io::{self, IsTerminal, Write};

use super::failure::Failure;
use crate::config::Style;

/// Prints to standard output. A reader that has seen enough (`| head`) is no failure.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Err(cause) if cause.kind() != io::ErrorKind::BrokenPipe => Err(Failure::System {
            what: "write to standard output",
            cause,
        }),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Says something that is not what was asked for.
pub(super) fn say(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", text.trim_end());
}

/// Says why the command failed. What leads up to it stands above, as it came.
pub(super) fn complain(text: &str) {
    match text.rsplit_once('\n') {
        Some((above, last)) => say(&format!("{above}\npinfold: {last}")),
        None => say(&format!("pinfold: {text}")),
    }
}

/// How standard error is written to.
pub(super) fn style() -> Style {
    let is_plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if io::stderr().is_terminal() && !is_plain {
        Style::Coloured
    } else {
        Style::Plain
    }
}

/// How wide tables may be: the terminal, or without one, no limit, for `grep`.
pub(super) fn width() -> Option<u16> {
    let stdout = io::stdout();
    if !stdout.is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(&stdout);
    Some(size.map_or(NARROWEST, |size| size.ws_col.max(NARROWEST)))
}

/// Tables are laid out for this; a narrower terminal wraps them.
const NARROWEST: u16 = 80;
