//! `pinfold check`.

use std::collections::HashSet;
use std::path::Path;
use std::process::ExitCode;

use super::failure::Failure;
use super::table::count;
use super::{machine, output};
use crate::config::model::Config;
use crate::config::{Severity, load, machine_warnings};
use crate::control::{self, host_rules};

/// With `prints_rules` the rules of the host are printed in the place of the verdict.
pub(super) fn check(file: &Path, prints_rules: bool) -> Result<ExitCode, Failure> {
    let loaded = match load(file) {
        Ok(loaded) => loaded,
        Err(mistakes) => {
            output::say(&mistakes.render(output::style()));
            return Ok(ExitCode::from(78));
        }
    };
    let mut warnings = loaded.warnings.clone();
    warnings.extend(machine_warnings(&loaded, &machine::here()));
    if !warnings.is_empty() {
        output::say(&warnings.render(output::style()));
    }
    for refused in &loaded.config.unavailable {
        output::say(&format!(
            "warning: {}: {} is not available in this version; `serve` will refuse this",
            refused.place, refused.what
        ));
    }
    if prints_rules {
        output::print(&host_rules::script(&loaded.config, control::cores()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let warned = warnings.count(Severity::Warning) + loaded.config.unavailable.len();
    output::print(&verdict(&loaded.config, warned))?;
    Ok(ExitCode::SUCCESS)
}

/// `ok: 4 listeners, 2 nodes, 3 partners; 2 warnings`.
pub(super) fn verdict(config: &Config, warned: usize) -> String {
    // The same name in two pools is the same machine.
    let nodes = config.pools.iter().flat_map(|pool| &pool.nodes);
    let nodes: HashSet<_> = nodes.map(|node| &node.name).collect();
    let counted = |number: usize, noun| count(number as u64, noun);
    format!(
        "ok: {}, {}, {}; {}\n",
        counted(config.listeners.len(), "listener"),
        counted(nodes.len(), "node"),
        counted(config.partners.len(), "partner"),
        counted(warned, "warning"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    #[test]
    fn the_verdict_counts_what_the_file_has() {
        let text = include_str!("../../packaging/pinfold.toml");
        let Ok(loaded) = parse("pinfold.toml", text) else {
            panic!("the shipped file does not load");
        };
        let verdict = verdict(&loaded.config, 1);
        assert!(
            verdict.starts_with("ok: 5 listeners, 2 nodes, "),
            "{verdict}"
        );
        assert!(verdict.ends_with("; 1 warning\n"), "{verdict}");
    }
}
