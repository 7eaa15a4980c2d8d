//! Files that a configuration includes: `[[partner]]` tables only, often written by a script.
//!
//! Owns finding, reading and admitting them; their text is then read as if it stood at the end of the
//! including file. An included file includes nothing itself. A pattern that matches no file is fine,
//! since a folder may be empty; a plain path must exist.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use toml::de::{DeTable, DeValue};

use crate::config::diagnostics::Diagnostic;
use crate::config::load::syntax;
use crate::config::source::{Source, Span};
use crate::confine::files::{self, Wish};

/// Why a file gave no text.
#[derive(Debug)]
pub(super) enum Unreadable {
    /// The system says so.
    System(io::Error),
    /// It is larger than allowed.
    TooLarge,
    /// It holds a byte that is not UTF-8.
    NotText { line: usize },
}

impl Unreadable {
    /// What the system said, where it did.
    pub(super) fn system(&self) -> Option<&io::Error> {
        match self {
            Self::System(error) => Some(error),
            Self::TooLarge | Self::NotText { .. } => None,
        }
    }
}

/// The text of a file of at most `largest` bytes.
pub(super) fn read(path: &Path, largest: u64) -> Result<String, Unreadable> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(largest + 1).read_to_end(&mut bytes))
        .map_err(Unreadable::System)?;
    if bytes.len() as u64 > largest {
        return Err(Unreadable::TooLarge);
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let before = error.as_bytes().iter().take(good);
        let line = 1 + before.filter(|&&byte| byte == b'\n').count();
        Unreadable::NotText { line }
    })
}

/// Adds to `source` the files that `document` includes; what is wrong with them, and which they are.
pub(super) fn include(
    document: &DeTable<'_>,
    source: &mut Source,
    largest: u64,
) -> (Vec<Diagnostic>, Vec<PathBuf>) {
    let folder = Path::new(source.name(0)).parent().map(Path::to_path_buf);
    let folder = folder.unwrap_or_default();
    let mut mistakes = Vec::new();
    let mut seen: Vec<PathBuf> = Vec::new();
    let refused = |span: &Span, title: String, path: &Path, why: Option<&io::Error>| {
        let mistake = Diagnostic::error(span, title);
        match why.and_then(|why| files::remedy(path, Wish::Read, why)) {
            Some(remedy) => mistake.help(remedy),
            None => mistake,
        }
    };
    for (pattern, span) in patterns(document) {
        let found = match find(&folder, &pattern) {
            Ok(found) => found,
            Err(Unfound { title, system }) => {
                let (path, why) = system.unzip();
                let path = path.unwrap_or_default();
                mistakes.push(refused(&span, title, &path, why.as_ref()));
                continue;
            }
        };
        for path in found {
            if seen.contains(&path) {
                continue;
            }
            if seen.len() == FILES_MAX {
                let title = format!("more than {FILES_MAX} files are included");
                mistakes.push(Diagnostic::error(&span, title));
                return (mistakes, seen);
            }
            let room = largest.saturating_sub(source.text().len() as u64);
            match read(&path, room) {
                Ok(text) => admit(&path, &text, source, &mut mistakes),
                Err(why) => {
                    let title = refusal(&path, &why);
                    mistakes.push(refused(&span, title, &path, why.system()));
                }
            }
            seen.push(path);
        }
    }
    (mistakes, seen)
}

fn patterns(document: &DeTable<'_>) -> Vec<(String, Span)> {
    let list = document.get("include").map(|value| value.get_ref());
    let Some(DeValue::Array(list)) = list else {
        return Vec::new();
    };
    let text = |item: &toml::Spanned<DeValue<'_>>| {
        let pattern = item.get_ref().as_str()?;
        Some((pattern.to_owned(), item.span()))
    };
    list.iter().filter_map(text).collect()
}

/// The folders in which the patterns look that `document`, which stands in `file`, includes by.
pub(super) fn folders(document: &DeTable<'_>, file: &Path) -> impl Iterator<Item = PathBuf> {
    let folder = file.parent().unwrap_or(file);
    let patterns = patterns(document).into_iter().map(|(pattern, _)| pattern);
    patterns
        .filter(|pattern| is_pattern(pattern))
        .map(move |pattern| {
            let parts = Path::new(&pattern).components();
            let is_fixed = |part: &Component<'_>| !is_pattern(&part.as_os_str().to_string_lossy());
            folder.join(parts.take_while(is_fixed).collect::<PathBuf>())
        })
}

fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// Why a pattern led to no files; where the system would not let it, which folder, and what it said.
struct Unfound {
    title: String,
    system: Option<(PathBuf, io::Error)>,
}

/// The files that `pattern` names, in the order of their names.
fn find(folder: &Path, pattern: &str) -> Result<Vec<PathBuf>, Unfound> {
    let whole = folder.join(pattern);
    if !is_pattern(pattern) {
        return Ok(vec![whole]);
    }
    let paths = glob::glob(&whole.to_string_lossy()).map_err(|error| Unfound {
        title: format!("include: \"{pattern}\" is no pattern: {}", error.msg),
        system: None,
    })?;
    let mut files = Vec::new();
    for path in paths {
        let path = path.map_err(|error| {
            let (path, cause) = (error.path().to_path_buf(), io::Error::from(error));
            Unfound {
                title: format!("include: cannot read {}: {cause}", path.display()),
                system: Some((path, cause)),
            }
        })?;
        files.push(path);
    }
    Ok(files)
}

/// Adds the text if it holds `[[partner]]` tables and nothing else.
fn admit(path: &Path, text: &str, source: &mut Source, mistakes: &mut Vec<Diagnostic>) {
    let start = source.add(&path.display().to_string(), text);
    let document = match DeTable::parse(text) {
        Ok(document) => document,
        Err(error) => {
            mistakes.push(syntax(&error, start));
            return;
        }
    };
    for (key, _) in document.get_ref() {
        if key.get_ref() == "partner" {
            continue;
        }
        let span = key.span();
        let title = format!(
            "an included file holds [[partner]] tables only, and `{}` is none",
            key.get_ref()
        );
        mistakes.push(
            Diagnostic::error(&(start + span.start..start + span.end), title)
                .why("whoever maintains the list of partners must not change the service by it")
                .help("move it to the file that includes this one"),
        );
    }
}

fn refusal(path: &Path, why: &Unreadable) -> String {
    let path = path.display();
    match why {
        Unreadable::System(cause) => format!("include: cannot read {path}: {cause}"),
        Unreadable::TooLarge => format!("include: with {path} the configuration is too large"),
        Unreadable::NotText { line } => {
            format!("include: {path}: line {line} holds a byte that is not UTF-8")
        }
    }
}

/// A pattern that matches a whole disk must not be followed.
const FILES_MAX: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_looks_into_the_folder_before_its_first_wildcard() {
        let text = "include = [\"partners.d/*.toml\", \"one.toml\", \"/srv/site-*/partners/?.toml\", \"*.toml\"]";
        let document = DeTable::parse(text).unwrap();
        let found = folders(document.get_ref(), Path::new("/etc/pinfold/pinfold.toml"));
        let found: Vec<_> = found.collect();
        let expected = ["/etc/pinfold/partners.d", "/srv", "/etc/pinfold"];
        assert_eq!(found, expected.map(PathBuf::from));
    }
}
