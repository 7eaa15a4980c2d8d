//! From a file, or its text, to the checked model.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use crate::config::check;
use crate::config::diagnostics::{Diagnostic, Diagnostics, Findings, Severity};
use crate::config::include::{self, Unreadable};
use crate::config::model::Config;
use crate::config::read::{self, Draft};
use crate::config::source::{Source, Span};
use crate::confine::files::{self, Wish};

/// A configuration without mistakes.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What the program works with.
    pub config: Config,
    /// What the administrator should know.
    pub warnings: Diagnostics,
    /// The text it came from.
    pub source: Source,
    /// What was read for it, and is read again by a reload.
    pub reads: Reads,
    /// Where the bind addresses of each listener stand, for [`crate::config::machine`].
    pub(super) binds: BTreeMap<String, Vec<Span>>,
}

/// Where a configuration comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// The file, and those that it names: includes, certificates, keys and authorities.
    pub files: BTreeSet<PathBuf>,
    /// Folders in which it looks for files to include.
    pub folders: BTreeSet<PathBuf>,
}

/// Reads and checks the file at `path`.
///
/// # Errors
///
/// Every mistake in the file, or why it cannot be read.
pub fn load(path: &Path) -> Result<Loaded, Diagnostics> {
    let name = path.display().to_string();
    match include::read(path, LARGEST) {
        Ok(text) => parse(&name, &text).map(|mut loaded| {
            loaded.reads.files.insert(path.into());
            loaded
        }),
        Err(why) => {
            let mut mistake = Diagnostic::error_of_file(refusal(&why));
            let remedy = why
                .system()
                .and_then(|why| files::remedy(path, Wish::Read, why));
            if let Some(remedy) = remedy {
                mistake = mistake.help(remedy);
            }
            Err(Diagnostics::new(Source::new(&name, ""), vec![mistake]))
        }
    }
}

fn refusal(why: &Unreadable) -> String {
    match why {
        Unreadable::System(cause) => format!("cannot read the configuration: {cause}"),
        Unreadable::TooLarge => format!("the configuration is larger than {LARGEST} bytes"),
        Unreadable::NotText { line } => format!("line {line} holds a byte that is not UTF-8"),
    }
}

/// Checks `text`, which stands in the file `file_name`.
///
/// # Errors
///
/// Every mistake in the text.
pub fn parse(file_name: &str, text: &str) -> Result<Loaded, Diagnostics> {
    let mut source = Source::new(file_name, text);
    let document = match DeTable::parse(text) {
        Ok(document) => document,
        Err(error) => return Err(Diagnostics::new(source, vec![syntax(&error, 0)])),
    };
    if let Some(foreign) = read::foreign_version(document.get_ref()) {
        return Err(Diagnostics::new(source, vec![foreign]));
    }
    let (mistakes, included) = include::include(document.get_ref(), &mut source, LARGEST);
    let folders = include::folders(document.get_ref(), Path::new(file_name)).collect();
    // What cannot be read as it should is told together with what is wrong with the rest.
    let readable = match mistakes.is_empty() {
        true => source.text().to_owned(),
        false => text.to_owned(),
    };
    let document = match DeTable::parse(&readable) {
        Ok(document) => document,
        Err(error) => return Err(Diagnostics::new(source, vec![syntax(&error, 0)])),
    };
    let findings = Findings::new(&source);
    mistakes.into_iter().for_each(|each| findings.push(each));
    let draft = read::document(document.get_ref(), &findings);
    check::check(&draft, &findings);
    let files = findings.files().into_iter().chain(included).collect();
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
            resolve: draft.resolve,
            gateway: draft.gateway.map(|each| each.gateway),
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
        reads: Reads { files, folders },
    })
}

/// What is wrong with a text that begins at `start`.
pub(super) fn syntax(error: &toml::de::Error, start: usize) -> Diagnostic {
    let message = error.message().lines().collect::<Vec<_>>().join("; ");
    let title = format!("not TOML: {message}");
    match error.span() {
        Some(span) => Diagnostic::error(&(start + span.start..start + span.end), title),
        None => Diagnostic::error_of_file(title),
    }
}

/// Larger than any configuration; keeps a wrong path from filling memory.
const LARGEST: u64 = 16 << 20;
