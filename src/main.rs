//! The `pinfold` binary: argv in, exit code out.
#![forbid(unsafe_code)]

use std::process::ExitCode;

/// Sessions are many small allocations of few sizes, freed on the thread that made them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    pinfold::cli::run(std::env::args_os())
}
