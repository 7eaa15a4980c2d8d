//! `pinfold serve`.

use std::future::pending;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use crate::config::Style;
use crate::control::{self, Source, StartError, chain};
use crate::sys::memory;
use crate::telemetry::panics;

pub(super) fn serve(config: PathBuf) -> ExitCode {
    // Before much memory is touched.
    memory::forgo_huge_pages();
    memory::keep_nothing_free();
    panics::install();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let result = match runtime {
        Ok(runtime) => {
            runtime.block_on(async { control::start(Source::File(config))?.run(pending()).await })
        }
        Err(cause) => Err(StartError::System {
            what: "the control thread",
            cause,
        }),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

/// Says why, to whoever started the process: logging may not have begun.
fn complain(error: &StartError) {
    let mut stderr = std::io::stderr().lock();
    let style = if stderr.is_terminal() {
        Style::Coloured
    } else {
        Style::Plain
    };
    let _ = match error {
        StartError::Configuration(diagnostics) => {
            writeln!(stderr, "{}", diagnostics.render(style))
        }
        StartError::Unavailable(_)
        | StartError::Listen { .. }
        | StartError::Admin { .. }
        | StartError::View { .. }
        | StartError::File { .. }
        | StartError::State(_)
        | StartError::System { .. }
        | StartError::Sandbox { .. }
        | StartError::Died(_) => writeln!(stderr, "pinfold: {}", chain(error)),
    };
}
