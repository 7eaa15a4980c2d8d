use proptest::prelude::*;

use super::*;

const DER: &[u8] = include_bytes!("../../../tests/data/tls/client.der");

#[test]
fn names_are_lower_case_and_stand_once() {
    let certificate = Certificate::parse(DER).unwrap();
    assert_eq!(&*certificate.subject, "sip.fabrikam.com");
    let names: Vec<&str> = certificate.names.iter().map(|name| &**name).collect();
    assert_eq!(names, ["sip.fabrikam.com", "sip.fabrikam.de"]);
    assert!(certificate.for_clients && certificate.for_servers);
    assert!(certificate.not_before < certificate.not_after);
    let days = (certificate.not_after - certificate.not_before) / 86_400;
    assert_eq!(days, 36_500);
}

#[test]
fn only_host_names_are_names() {
    assert_eq!(
        host_name("SIP.Contoso.COM.").as_deref(),
        Some("sip.contoso.com")
    );
    assert_eq!(
        host_name("xn--mnchen-3ya.example").as_deref(),
        Some("xn--mnchen-3ya.example")
    );
    for odd in [
        "",
        ".",
        "a..b",
        "*.contoso.com",
        "192.0.2.1",
        "a b",
        "münchen.example",
        "a\nb",
        "a\"b",
        &"a".repeat(64),
        &"a.".repeat(130),
    ] {
        assert_eq!(host_name(odd), None, "{odd:?}");
    }
}

#[test]
fn what_is_shown_cannot_break_a_line_or_turn_text() {
    assert_eq!(
        shown("a\nb\u{202e}c\\\"d"),
        "a\\u{a}b\\u{202e}c\\u{5c}\\u{22}d"
    );
    assert!(shown(&"\u{202e}".repeat(1000)).len() <= SUBJECT_MAX * 10);
}

#[test]
fn what_is_too_large_or_nested_without_end_is_no_certificate() {
    assert_eq!(Certificate::parse(&[0x30; 100]), None);
    // A sequence in a sequence, ten thousand times: each says how long the rest is.
    let mut nested = Vec::new();
    for _ in 0..4000 {
        let length = u16::try_from(nested.len()).unwrap().to_be_bytes();
        nested = [&[0x30, 0x82][..], &length, &nested].concat();
    }
    assert_eq!(Certificate::parse(&nested), None);
    assert_eq!(Certificate::parse(&[DER, &vec![0; DER_MAX]].concat()), None);
}

#[test]
fn an_extension_that_is_nested_without_end_costs_nobody_more_than_its_bytes() {
    let sans = DER
        .windows(5)
        .position(|window| window == [0x06, 3, 0x55, 0x1d, 0x11])
        .unwrap();
    let mut hostile = DER.to_vec();
    // The content of the alternative names, as constructed values within each other.
    for byte in hostile.iter_mut().skip(sans + 9).take(30) {
        *byte = 0xa4;
    }
    let _ = Certificate::parse(&hostile);
}

proptest! {
    #[test]
    fn no_mutation_panics_and_every_name_stays_one(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        length in 0..=DER.len(),
    ) {
        let mut der = DER.to_vec();
        for (at, value) in changes {
            let at = at.index(der.len());
            der[at] = value;
        }
        der.truncate(length.max(der.len().saturating_sub(40)));
        if let Some(certificate) = Certificate::parse(&der) {
            for name in &certificate.names {
                prop_assert_eq!(host_name(name), Some(name.to_string()));
            }
            prop_assert!(certificate.subject.chars().all(|c| matches!(c, ' '..='~')));
        }
    }
}
