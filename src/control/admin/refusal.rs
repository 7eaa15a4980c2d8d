//! Answers that say no.

use axum::Json;
use axum::body::Body;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::answers::Refused;
use super::guard::Forbidden;
use crate::config::{did_you_mean, model};
use crate::control::maintenance::TaskRefused;
use crate::control::pins::PinRefused;
use crate::control::{NodeRefused, ReloadError};
use crate::snapshot::Snapshot;

/// A status with a sentence.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    body: Refused,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, error: impl Into<String>) -> Self {
        let body = Refused {
            error: error.into(),
            ..Refused::default()
        };
        Self { status, body }
    }

    /// How the command line exits on it.
    pub(super) fn exits_with(&mut self, code: u8) {
        self.body.exit_code = Some(code);
    }

    /// The request itself is wrong.
    pub(super) fn wrong(error: impl Into<String>) -> Self {
        let mut refusal = Self::new(StatusCode::BAD_REQUEST, error);
        refusal.body.exit_code = Some(64);
        refusal
    }

    pub(super) fn forbidden(error: &Forbidden) -> Self {
        Self::new(StatusCode::FORBIDDEN, error.to_string())
    }

    /// No listener uses a node of this name.
    pub(super) fn unknown_node(snapshot: &Snapshot, node: &str, pool: Option<&str>) -> Self {
        let pools = snapshot.config.pools.iter();
        let pools: Vec<_> = pools.map(|known| &*known.name).collect();
        let is_meant = |known: &&model::Pool| pool.is_none_or(|pool| known.name == pool);
        let nodes = snapshot.config.pools.iter().filter(is_meant);
        let nodes = nodes.flat_map(|pool| &pool.nodes);
        let nodes: Vec<_> = nodes.map(|node| &*node.name).collect();
        let hint = |word: &str, known: &[&str]| {
            let near = did_you_mean(word, known.iter().copied());
            near.unwrap_or_else(|| format!("there are {}", known.join(", ")))
        };
        let error = match pool {
            Some(pool) if nodes.is_empty() => format!("no pool \"{pool}\": {}", hint(pool, &pools)),
            _ => format!("no listener uses a node \"{node}\": {}", hint(node, &nodes)),
        };
        let mut refusal = Self::new(StatusCode::NOT_FOUND, error);
        refusal.body.exit_code = Some(64);
        refusal
    }

    /// Somebody who must answer does not.
    pub(super) fn silent(who: &str) -> Self {
        let error =
            format!("{who} does not answer; the process may be starting, stopping or stuck");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, error)
    }
}

impl From<ReloadError> for Refusal {
    fn from(error: ReloadError) -> Self {
        let (summary, exit_code) = match &error {
            ReloadError::Configuration(diagnostics) => (diagnostics.summary(), 78),
            ReloadError::Start(cause) => ("it cannot be applied".into(), cause.exit_code()),
        };
        Self {
            status: StatusCode::UNPROCESSABLE_ENTITY,
            body: Refused {
                error: format!("reload refused: {summary}; the configuration in force stays"),
                diagnostics: error.lines(),
                exit_code: Some(exit_code),
            },
        }
    }
}

impl From<NodeRefused> for Refusal {
    fn from(error: NodeRefused) -> Self {
        let (status, exit_code) = match &error {
            NodeRefused::Unknown(..) => (StatusCode::NOT_FOUND, 64),
            NodeRefused::Store(_) => (StatusCode::INTERNAL_SERVER_ERROR, 71),
        };
        let mut refusal = Self::new(status, error.to_string());
        refusal.body.exit_code = Some(exit_code);
        refusal
    }
}

impl From<PinRefused> for Refusal {
    fn from(error: PinRefused) -> Self {
        let (status, exit_code) = match &error {
            PinRefused::UnknownPartner(..) | PinRefused::NotPinned(_) => {
                (StatusCode::NOT_FOUND, 64)
            }
            PinRefused::NotByName(..)
            | PinRefused::NoPlace(_)
            | PinRefused::Unavailable { .. }
            | PinRefused::Down { .. } => (StatusCode::CONFLICT, 69),
            PinRefused::UnknownNode(..) => (StatusCode::UNPROCESSABLE_ENTITY, 64),
            PinRefused::Mistakes(_) => (StatusCode::UNPROCESSABLE_ENTITY, 65),
            PinRefused::NotKept(_) => (StatusCode::INTERNAL_SERVER_ERROR, 71),
        };
        let mut refusal = Self::new(status, error.to_string());
        refusal.body.exit_code = Some(exit_code);
        if let PinRefused::Mistakes(mistakes) = error {
            refusal.body.diagnostics = mistakes;
        }
        refusal
    }
}

impl From<TaskRefused> for Refusal {
    fn from(error: TaskRefused) -> Self {
        match error {
            TaskRefused::Pin(refused) => refused.into(),
            TaskRefused::Node(refused) => refused.into(),
            TaskRefused::NoRefuge(..) | TaskRefused::NotDraining(_) | TaskRefused::Busy { .. } => {
                let mut refusal = Self::new(StatusCode::CONFLICT, error.to_string());
                refusal.body.exit_code = Some(69);
                refusal
            }
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(self.body)).into_response()
    }
}

impl From<Refusal> for axum::http::Response<Body> {
    fn from(refusal: Refusal) -> Self {
        refusal.into_response()
    }
}
