//! What an answer means, where the checker of configurations cannot tell.

use super::plan::Services;
use crate::config::did_you_mean;
use crate::config::model::Generation;

/// The words of a list; none of them for "none".
pub(super) fn words(answer: &str) -> Vec<String> {
    if answer == NONE {
        return Vec::new();
    }
    let words = answer
        .split([',', ' ', '\t'])
        .filter(|word| !word.is_empty());
    words.map(ToOwned::to_owned).collect()
}

/// As [`words`], of which there must be one.
pub(super) fn needed(answer: &str) -> Result<Vec<String>, String> {
    let words = words(answer);
    match words.is_empty() {
        true => Err("this needs an address".to_owned()),
        false => Ok(words),
    }
}

/// Addresses whose ports follow from the service.
pub(super) fn without_ports(answer: &str) -> Result<Vec<String>, String> {
    let words = needed(answer)?;
    let wrong = words
        .iter()
        .find(|word| word.parse::<std::net::IpAddr>().is_err());
    match wrong {
        Some(word) => Err(format!(
            "\"{word}\" is not an IP address by itself; the ports follow from the service"
        )),
        None => Ok(words),
    }
}

/// Also by a letter.
pub(super) fn yes_or_no(answer: &str) -> Result<bool, String> {
    match answer.to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(true),
        "n" | "no" => Ok(false),
        _ => Err(format!("\"{answer}\" is neither yes nor no")),
    }
}

/// What goes through here beside federation.
pub(super) fn services(answer: &str) -> Result<Services, String> {
    let mut services = Services::default();
    for word in words(answer) {
        let service = match word.to_ascii_lowercase().as_str() {
            "access" => &mut services.access,
            "webconf" => &mut services.webconf,
            "av" | "a/v" => &mut services.av,
            "xmpp" => &mut services.xmpp,
            "internal" => &mut services.internal,
            // It is always there.
            "federation" => continue,
            other => {
                let known = ["access", "webconf", "av", "xmpp", "internal", NONE];
                let hint = did_you_mean(other, known.into_iter());
                let hint = hint.unwrap_or_else(|| format!("it can be: {}", known.join(", ")));
                return Err(format!("\"{word}\" is no service; {hint}"));
            }
        };
        *service = true;
    }
    Ok(services)
}

/// By name, or by its place in the list that the question shows.
pub(super) fn generation(answer: &str) -> Result<Generation, String> {
    let number: Option<usize> = answer.parse().ok();
    let by_number = number.and_then(|number| GENERATIONS.get(number.checked_sub(1)?));
    let by_name = || GENERATIONS.iter().find(|known| known.name() == answer);
    by_number.or_else(by_name).copied().ok_or_else(|| {
        let names = GENERATIONS.iter().map(|known| known.name());
        let hint = did_you_mean(answer, names);
        let hint = hint.unwrap_or_else(|| "? shows what it can be".to_owned());
        format!("\"{answer}\" is no generation; {hint}")
    })
}

/// In the order in which the question shows them.
const GENERATIONS: [Generation; 11] = [
    Generation::Lcs2005,
    Generation::Lcs2005Sp1,
    Generation::Ocs2007,
    Generation::Ocs2007R2,
    Generation::Lync2010,
    Generation::Lync2013,
    Generation::Sfb2015,
    Generation::Sfb2019,
    Generation::SfbSe,
    Generation::Online,
    Generation::Other,
];

/// Stands for an empty list.
pub(super) const NONE: &str = "none";
/// Stands for a key that is to be made.
pub(super) const NEW: &str = "new";
