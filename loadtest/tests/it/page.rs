//! What a page must be: whole, by itself, legible by day and by night.

/// Elements that have no end.
const VOID: [&str; 4] = ["!doctype", "meta", "br", "hr"];

/// Holds `text` to all of it.
#[track_caller]
pub(crate) fn hold(text: &str) {
    for outside in ["http://", "https://", "src=", "url(", "@import", "<script"] {
        assert!(!text.contains(outside), "the page wants \"{outside}\"");
    }
    for scheme in ["color-scheme: light dark", "prefers-color-scheme: dark"] {
        assert!(text.contains(scheme), "no {scheme}");
    }
    if let Err(error) = is_closed(text) {
        panic!("{error}");
    }
}

/// Whether every element that begins also ends, within the one around it.
fn is_closed(text: &str) -> Result<(), String> {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find('<') {
        rest = &rest[start + 1..];
        let end = end_of_tag(rest).ok_or_else(|| format!("a tag without an end: <{rest:.60}"))?;
        let tag = &rest[..end];
        rest = &rest[end + 1..];
        let name = tag.trim_start_matches('/').trim_end_matches('/');
        let name = name.split_whitespace().next().unwrap_or_default();
        if tag.starts_with('/') {
            let opened = open.pop();
            if opened != Some(name) {
                return Err(format!("</{name}> ends {opened:?}"));
            }
        } else if !tag.ends_with('/') && !VOID.contains(&name) {
            open.push(name);
            if name == "style" {
                rest = &rest[rest.find("</style>").unwrap_or(0)..];
            }
        }
    }
    if open.is_empty() {
        Ok(())
    } else {
        Err(format!("never ended: {open:?}"))
    }
}

/// Where a tag ends: at the first `>` outside of quotes.
fn end_of_tag(text: &str) -> Option<usize> {
    let mut is_quoted = false;
    text.bytes().position(|byte| {
        is_quoted ^= byte == b'"';
        byte == b'>' && !is_quoted
    })
}

#[test]
fn elements_that_never_end_are_found() {
    for (text, closed) in [
        ("<p>a</p>", true),
        ("<p a=\"x > y\">a<br></p><svg><line/></svg>", true),
        ("<p>a", false),
        ("<p><b>a</p></b>", false),
        ("</p>", false),
        ("<p", false),
    ] {
        assert_eq!(is_closed(text).is_ok(), closed, "{text}");
    }
}
