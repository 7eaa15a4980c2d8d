//! Tests of the whole path from text to model.

use super::*;

#[test]
fn the_shipped_file_loads() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/pinfold.toml");
    match load(std::path::Path::new(path)) {
        Ok(loaded) => {
            eprintln!("{}", loaded.warnings.render(Style::Plain));
            assert_eq!(loaded.config.unavailable, []);
            assert!(loaded.warnings.is_empty());
        }
        Err(diagnostics) => panic!("{}", diagnostics.render(Style::Plain)),
    }
}
