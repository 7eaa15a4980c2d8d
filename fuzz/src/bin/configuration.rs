//! A configuration: a model, or diagnostics that can be shown.
#![cfg_attr(fuzzing, no_main)]

/// Reads `data` as a file.
pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let shown = match pinfold::config::parse("fuzzed.toml", text) {
        Ok(loaded) => loaded.warnings.render(pinfold::config::Style::Plain),
        Err(diagnostics) => {
            assert!(diagnostics.has_errors());
            diagnostics.render(pinfold::config::Style::Plain)
        }
    };
    // Whatever stands in the file, a terminal is told nothing but text.
    assert!(!shown.contains('\u{1b}'));
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| run(data));
