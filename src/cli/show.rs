//! `pinfold status`, `nodes`, `sessions`, `partners`, `pins` and `failovers`: what the daemon knows, as
//! tables.

use jiff::Timestamp;
use serde::de::DeserializeOwned;

use super::failure::Failure;
use super::table::Layout;
use super::{Show, client, output};

mod failovers;
mod nodes;
mod partners;
mod partners_tls;
mod pins;
mod sessions;
mod status;

/// What is to be shown.
#[derive(Debug)]
pub(super) enum Listing {
    Status,
    Nodes,
    Sessions,
    Partners { tls: bool },
    Pins { limit: usize },
    Failovers { partner: Option<String> },
}

impl Listing {
    fn path(&self) -> String {
        match self {
            Self::Status => "/v1/status".into(),
            Self::Nodes => "/v1/nodes".into(),
            Self::Sessions => "/v1/sessions".into(),
            Self::Partners { .. } => "/v1/partners".into(),
            Self::Pins { limit: 0 } => "/v1/pins".into(),
            Self::Pins { limit } => format!("/v1/pins?limit={limit}"),
            Self::Failovers { partner } => {
                client::with_query("/v1/failovers", &[("partner", partner.as_deref())])
            }
        }
    }
}

pub(super) fn show(listing: &Listing, options: &Show) -> Result<(), Failure> {
    let json = client::get(&options.daemon, &listing.path())?;
    if options.json {
        return output::print(&(json + "\n"));
    }
    let layout = Layout {
        width: output::width(),
        now: Timestamp::now(),
    };
    let text = match listing {
        Listing::Status => {
            let nodes = client::get(&options.daemon, "/v1/nodes")?;
            status::render(&read(options, &json)?, &read(options, &nodes)?, &layout)
        }
        Listing::Nodes => nodes::render(&read(options, &json)?, &layout),
        Listing::Sessions => sessions::render(&read(options, &json)?, &layout),
        Listing::Partners { tls: false } => partners::render(&read(options, &json)?, &layout),
        Listing::Partners { tls: true } => partners_tls::render(&read(options, &json)?, &layout),
        Listing::Pins { .. } => pins::render(&read(options, &json)?, &layout),
        Listing::Failovers { .. } => failovers::render(&read(options, &json)?, &layout),
    };
    output::print(&text)
}

fn read<T: DeserializeOwned>(options: &Show, json: &str) -> Result<T, Failure> {
    client::read(&options.daemon, json)
}

#[cfg(test)]
mod tests;
