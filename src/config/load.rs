//! From a file, or its text, to the checked model.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use toml::de::DeTable;

use crate::config::check;
use crate::config::diagnostics::{Diagnostic, Diagnostics, Findings, Severity};
use crate::config::model::Config;
use crate::config::read::{self, Draft};
use crate::config::source::{Source, Span};

/// A configuration without mistakes.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What the program works with.
    pub config: Config,
    /// What the administrator should know.
    pub warnings: Diagnostics,
    /// The text it came from.
    pub source: Source,
    /// Where the bind addresses of each listener stand, for [`crate::config::machine`].
    pub(super) binds: BTreeMap<String, Vec<Span>>,
}

/// Reads and checks the file at `path`.
///
/// # Errors
///
/// Every mistake in the file, or why it cannot be read.
pub fn load(path: &Path) -> Result<Loaded, Diagnostics> {
    let name = path.display().to_string();
    let refuse = |title: String| {
        let source = Source::new(&name, "");
        Diagnostics::new(source, vec![Diagnostic::error_of_file(title)])
    };
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(LARGEST + 1).read_to_end(&mut bytes))
        .map_err(|cause| refuse(format!("cannot read the configuration: {cause}")))?;
    if bytes.len() as u64 > LARGEST {
        return Err(refuse(format!(
            "the configuration is larger than {LARGEST} bytes"
        )));
    }
    match String::from_utf8(bytes) {
        Ok(text) => parse(&name, &text),
        Err(error) => {
            let good = error.utf8_error().valid_up_to();
            let line = 1 + error
                .as_bytes()
                .iter()
                .take(good)
                .filter(|&&byte| byte == b'\n')
                .count();
            Err(refuse(format!(
                "line {line} holds a byte that is not UTF-8"
            )))
        }
    }
}

/// Checks `text`, which stands in the file `file_name`.
///
/// # Errors
///
/// Every mistake in the text.
pub fn parse(file_name: &str, text: &str) -> Result<Loaded, Diagnostics> {
    let source = Source::new(file_name, text);
    let document = match DeTable::parse(text) {
        Ok(document) => document,
        Err(error) => return Err(Diagnostics::new(source, vec![syntax(&error)])),
    };
    if let Some(foreign) = read::foreign_version(document.get_ref()) {
        return Err(Diagnostics::new(source, vec![foreign]));
    }
    let findings = Findings::new(&source);
    let draft = read::document(document.get_ref(), &findings);
    check::check(&draft, &findings);
    let (list, unavailable) = findings.into_parts();
    let diagnostics = Diagnostics::new(source.clone(), list);
    if diagnostics.count(Severity::Error) > 0 {
        return Err(diagnostics);
    }
    let binds = |draft: &Draft| {
        let listeners = draft.listeners.iter();
        listeners
            .map(|each| (each.listener.name.clone(), each.binds.clone()))
            .collect()
    };
    Ok(Loaded {
        binds: binds(&draft),
        config: Config {
            server: draft.server.server,
            log: draft.log,
            pools: draft.pools.into_iter().map(|each| each.pool).collect(),
            listeners: draft
                .listeners
                .into_iter()
                .map(|each| each.listener)
                .collect(),
            partners: draft
                .partners
                .into_iter()
                .map(|each| each.partner)
                .collect(),
            unavailable,
        },
        warnings: diagnostics,
        source,
    })
}

fn syntax(error: &toml::de::Error) -> Diagnostic {
    let message = error.message().lines().collect::<Vec<_>>().join("; ");
    let title = format!("not TOML: {message}");
    match error.span() {
        Some(span) => Diagnostic::error(&span, title),
        None => Diagnostic::error_of_file(title),
    }
}

/// Larger than any configuration; keeps a wrong path from filling memory.
const LARGEST: u64 = 16 << 20;
