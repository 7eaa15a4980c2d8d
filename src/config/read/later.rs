//! What a listener will do in later versions: TLS, HTTP, SIP, and limits by rate.
//!
//! Everything is validated; a value other than the default is noted as unavailable.

use std::time::Duration;

use crate::config::model::Rate;
use crate::config::names::Words;
use crate::config::schema::Section;
use crate::config::table::Table;
use crate::config::value;

/// Reads the keys and tables of `table` that have no machinery yet.
pub(super) fn later(table: &mut Table<'_, '_>) {
    tls(table.table("tls", Section::Tls));
    node_tls(table.table("node_tls", Section::NodeTls));
    let mut http = table.table("http", Section::Http);
    http.take_later("cookie", value::text_or_empty, &"MS-WSMAN".to_owned());
    http.take_later("request_timeout", value::positive, &Duration::from_secs(30));
    http.finish();
    let mut sip = table.table("sip", Section::Sip);
    let discovered = Rate {
        count: 20,
        per: Duration::from_secs(1),
    };
    sip.take_later("discovered_rate", value::rate_or_off, &Some(discovered));
    sip.take_later("max_body", value::bytes(1, 1 << 30), &5_000_000);
    sip.finish();
}

fn tls(mut table: Table<'_, '_>) {
    const CLIENT_AUTH: Words<u8> = &[("off", 0), ("request", 1), ("require", 2)];
    const VERSIONS: Words<u8> = &[("1.2", 12), ("1.3", 13)];
    for inner in table.tables("certificates", Section::TlsCertificate) {
        certificate(inner);
    }
    table.take_later("client_auth", value::choice(CLIENT_AUTH), &0);
    if table.take_optional("client_ca", value::path).is_some() {
        table.unavailable("client_ca");
    }
    table.take_later("min_version", value::choice(VERSIONS), &12);
    table.take_later("tickets", value::boolean, &true);
    table.finish();
}

fn node_tls(mut table: Table<'_, '_>) {
    const MODES: Words<u8> = &[("off", 0), ("verify", 1), ("insecure", 2)];
    table.take_later("mode", value::choice(MODES), &0);
    if table.take_optional("ca", value::path).is_some() {
        table.unavailable("ca");
    }
    if table.take_optional("server_name", value::domain).is_some() {
        table.unavailable("server_name");
    }
    certificate(table.table("certificate", Section::NodeTlsCertificate));
    table.finish();
}

fn certificate(mut table: Table<'_, '_>) {
    table.take_required(
        "chain",
        value::path,
        "write `chain = \"/etc/pinfold/a.pem\"`",
    );
    table.take_required("key", value::path, "write `key = \"/etc/pinfold/a.key\"`");
    table.unavailable("chain");
    table.finish();
}
