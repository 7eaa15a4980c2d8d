//! The walk: a parsed document → a draft of the model, with the place of everything.
//!
//! Owns types, ranges, defaults and presets, one file per table. What concerns more than one table
//! is [`crate::config::check`]'s. A value that is wrong is reported and its default stands in, so
//! the walk always ends with a whole draft.

mod gateway;
mod listener;
mod partner;
mod pool;
mod probe;
mod server;
mod termination;
mod view;

pub(super) use self::gateway::{GatewayDraft, SnatPlaces};
pub(super) use self::listener::ListenerDraft;
pub(super) use self::partner::PartnerDraft;
pub(super) use self::pool::{NodePlaces, PoolDraft};
pub(super) use self::server::ServerDraft;

use toml::de::DeTable;

use crate::config::diagnostics::{Diagnostic, Findings};
use crate::config::model::{Log, Resolve};
use crate::config::schema::Section;
use crate::config::table::Table;
use crate::config::value::{self, Item};

/// A configuration that is read and not yet checked.
pub(super) struct Draft {
    pub(super) server: ServerDraft,
    pub(super) log: Log,
    pub(super) resolve: Resolve,
    /// `None`: the file has no such table.
    pub(super) gateway: Option<GatewayDraft>,
    pub(super) pools: Vec<PoolDraft>,
    pub(super) listeners: Vec<ListenerDraft>,
    pub(super) partners: Vec<PartnerDraft>,
}

/// Reads a whole document.
pub(super) fn document(entries: &DeTable<'_>, findings: &Findings<'_>) -> Draft {
    let mut root = Table::root(entries, findings);
    let help = "write `version = 1` at the top of the file";
    root.take_required("version", value::integer::<u8>(1, 1), help);
    root.take("include", value::list(value::text), Vec::new());
    let draft = Draft {
        server: server::server(root.table("server", Section::Server)),
        log: server::log(root.table("log", Section::Log)),
        resolve: server::resolve(root.table("resolve", Section::Resolve)),
        gateway: gateway::gateway(root.table("gateway", Section::Gateway)),
        pools: each(root.tables("pool", Section::Pool), pool::pool),
        listeners: each(
            root.tables("listener", Section::Listener),
            listener::listener,
        ),
        partners: each(root.tables("partner", Section::Partner), partner::partner),
    };
    server::cluster(root.table("cluster", Section::Cluster));
    root.finish();
    draft
}

/// The mistake that makes every other meaningless: a version that this program does not know.
pub(super) fn foreign_version(entries: &DeTable<'_>) -> Option<Diagnostic> {
    let value = entries.get("version")?;
    let shown = Item {
        key: "version",
        value,
    }
    .shown();
    let number = value.get_ref().as_integer();
    let is_known = number.is_some_and(|number| number.as_str() == "1");
    let diagnostic = || {
        Diagnostic::error(&value.span(), format!("version = {shown} is not known"))
            .why("this version of pinfold reads version 1 of the configuration only")
            .help("write `version = 1`, or use the pinfold that the file was written for")
    };
    (!is_known).then(diagnostic)
}

fn each<'a, 'd, T>(tables: Vec<Table<'a, 'd>>, read: fn(Table<'a, 'd>) -> T) -> Vec<T> {
    tables.into_iter().map(read).collect()
}
