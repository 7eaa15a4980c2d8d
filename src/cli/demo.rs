//! `pinfold demo`: what happens to a partner that never fails over when nodes die.
//!
//! Plays three simulated Edge Servers, two partners and some background sessions against a real
//! Pinfold in this process, on loopback only. `script` is what happens, `stage` who plays, `view` how
//! it is shown.

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::Duration;

use tokio::sync::oneshot;

use self::script::Verdict;
use self::stage::Stage;
use self::view::View;
use crate::control::{self, Source, chain};

mod lines;
mod script;
mod stage;
mod view;

pub(super) fn demo(seconds: u64) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return complain(&format!("cannot start: {error}")),
    };
    match runtime.block_on(play(Duration::from_secs(seconds.max(SHORTEST)))) {
        Ok(verdict) if verdict.is_good() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => complain(&error),
    }
}

async fn play(length: Duration) -> Result<Verdict, String> {
    let log = lines::capture();
    let stage = Stage::build()
        .await
        .map_err(|error| format!("cannot build the stage: {error}"))?;
    let control = control::start(Source::Text("demo.toml", stage.configuration()))
        .map_err(|error| chain(&error))?;
    let shared = std::sync::Arc::clone(control.shared());
    let view = View::new(log, io::stdout().is_terminal(), length);
    let (stop, stopped) = oneshot::channel::<()>();
    let stopped = async {
        let _ = stopped.await;
    };
    let show = async {
        let verdict = script::play(stage, shared, view, length).await;
        let _ = stop.send(());
        verdict
    };
    let (served, verdict) = tokio::join!(control.run(stopped), show);
    served.map_err(|error| chain(&error))?;
    verdict
}

fn complain(text: &str) -> ExitCode {
    let _ = io::Write::write_fmt(&mut io::stderr(), format_args!("pinfold demo: {text}\n"));
    ExitCode::from(71)
}

/// Below this a frozen node could not be told from the end of the show.
const SHORTEST: u64 = 8;
