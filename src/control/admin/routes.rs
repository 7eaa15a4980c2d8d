//! The routes, and what each asks of whom.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use serde::Deserialize;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::answers::{
    self, Changed, Imported, PinFile, PinWish, PinsChanged, PinsRemoved, Reloaded,
};
use super::asker::Asker;
use super::readiness::{self, Scope};
use super::refusal::Refusal;
use super::{explain, listings, metrics, probing, status};
use crate::config::parse_duration;
use crate::control::pins::{PinRefused, Unwish, Wish};
use crate::control::{Request, Shared};
use crate::governor::{Command, View};
use crate::store::Wanted;

mod maintenance;

type Answer<T> = Result<Json<T>, Refusal>;
type Ours = State<Arc<Shared>>;

pub(super) fn router(shared: Arc<Shared>) -> Router {
    plain()
        .route("/v1/status", get(show_status))
        .route("/v1/nodes", get(show_nodes))
        .route("/v1/sessions", get(show_sessions))
        .route("/v1/partners", get(show_partners))
        .route("/v1/pins", get(show_pins))
        .route("/v1/failovers", get(show_failovers))
        .route("/v1/explain/{subject}", get(show_explanation))
        .route("/v1/drill/{node}", get(maintenance::show_drill))
        .route("/v1/nodes/{node}/probe", get(show_probe))
        .route("/v1/nodes/{node}/maintain", post(maintenance::begin))
        .route("/v1/nodes/{node}/move", post(maintenance::move_away))
        .route("/v1/nodes/{node}/return", post(maintenance::put_back))
        .route("/v1/nodes/{node}/end", post(maintenance::end_some))
        .route("/v1/reload", post(reload))
        .route("/v1/nodes/{node}/{verb}", post(administer))
        .route("/v1/events", get(async || later("the stream of events")))
        // One route, so that a partner may be called "import".
        .route(
            "/v1/pins/{partner}",
            post(import)
                .layer(DefaultBodyLimit::max(IMPORT_MAX))
                .put(pin)
                .delete(unpin),
        )
        .route("/", get(async || later("the dashboard")))
        .fallback(async || Refusal::new(StatusCode::NOT_FOUND, "there is nothing at this path"))
        .method_not_allowed_fallback(async || {
            let error = "this path does not take this method";
            Refusal::new(StatusCode::METHOD_NOT_ALLOWED, error)
        })
        .with_state(shared)
}

/// What an address of `view` answers over TCP.
pub(super) fn readiness(shared: Arc<Shared>) -> Router {
    plain()
        .fallback(async || {
            let error = "this address only answers /live, /ready, /ready/LISTENER and /metrics: \
                         for the rest ask at the address that `admin` names, or at a unix socket of `view`";
            Refusal::new(StatusCode::FORBIDDEN, error)
        })
        .with_state(shared)
}

/// What answers without JSON, for whatever watches.
fn plain() -> Router<Arc<Shared>> {
    Router::new()
        .route("/live", get(async || "alive\n"))
        .route("/ready", get(ready))
        .route("/ready/{listener}", get(ready_listener))
        .route("/metrics", get(measure))
}

fn later(what: &str) -> Refusal {
    let error = format!("{what} is not available in this version");
    Refusal::new(StatusCode::NOT_IMPLEMENTED, error)
}

#[derive(Debug, Deserialize)]
struct ReadyQuery {
    pool: Option<String>,
}

async fn ready(State(shared): Ours, Query(query): Query<ReadyQuery>) -> Result<Response, Refusal> {
    let scope = match query.pool {
        None => Scope::All,
        Some(pool) => Scope::pool(&shared, pool)?,
    };
    Ok(say_ready(&readiness::reasons(&shared, &scope)))
}

async fn ready_listener(
    State(shared): Ours,
    Path(listener): Path<String>,
) -> Result<Response, Refusal> {
    let scope = Scope::listener(&shared, listener)?;
    Ok(say_ready(&readiness::reasons(&shared, &scope)))
}

fn say_ready(reasons: &[String]) -> Response {
    if reasons.is_empty() {
        return "ready\n".into_response();
    }
    let text = reasons.join("\n") + "\n";
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}

async fn measure(State(shared): Ours) -> Result<Response, Refusal> {
    let view = view(&shared).await?;
    let text = metrics::render(&shared, &view).map_err(|_| {
        let error = "the metrics cannot be written";
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error)
    })?;
    Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response())
}

async fn show_status(State(shared): Ours) -> Answer<answers::Status> {
    Ok(Json(status::status(&shared, &view(&shared).await?)))
}

async fn show_nodes(State(shared): Ours) -> Answer<answers::Nodes> {
    Ok(Json(status::nodes(&shared, &view(&shared).await?)))
}

async fn show_sessions(State(shared): Ours) -> Answer<answers::Sessions> {
    Ok(Json(listings::sessions(&shared, &view(&shared).await?)))
}

async fn show_partners(State(shared): Ours) -> Answer<answers::Partners> {
    Ok(Json(listings::partners(&shared, &view(&shared).await?)))
}

#[derive(Debug, Deserialize)]
struct PinsQuery {
    limit: Option<usize>,
}

async fn show_pins(State(shared): Ours, Query(query): Query<PinsQuery>) -> Json<answers::Pins> {
    Json(listings::pins(&shared, query.limit.unwrap_or(usize::MAX)))
}

#[derive(Debug, Deserialize)]
struct FailoversQuery {
    partner: Option<String>,
}

async fn show_failovers(
    State(shared): Ours,
    Query(query): Query<FailoversQuery>,
) -> Answer<answers::Failovers> {
    let failovers = view(&shared).await?.failovers.into_iter();
    let mut failovers: Vec<answers::Failover> = failovers
        .map(|each| Arc::unwrap_or_clone(each).into())
        .collect();
    if let Some(partner) = query.partner {
        failovers
            .iter_mut()
            .for_each(|each| each.partners.retain(|gap| gap.partner == partner));
        failovers.retain(|each| !each.partners.is_empty());
    }
    Ok(Json(answers::Failovers { failovers }))
}

#[derive(Debug, Deserialize)]
struct ExplainQuery {
    listener: Option<String>,
}

async fn show_explanation(
    State(shared): Ours,
    Path(subject): Path<String>,
    Query(query): Query<ExplainQuery>,
) -> Answer<answers::Explanation> {
    let subject = explain::Subject::find(&shared, &subject)?;
    let located = match subject.partner_name() {
        Some(partner) => ask(&shared, |answer| Request::Locate { partner, answer }).await?,
        None => explain::Located::default(),
    };
    let view = view(&shared).await?;
    let listener = query.listener.as_deref();
    explain::explain(&shared, &view, &located, &subject, listener).map(Json)
}

#[derive(Debug, Deserialize)]
struct ProbeQuery {
    pool: Option<String>,
}

async fn show_probe(
    State(shared): Ours,
    Path(node): Path<String>,
    Query(query): Query<ProbeQuery>,
) -> Answer<answers::Probed> {
    let view = view(&shared).await?;
    let probed = probing::probe(&shared, &view, &node, query.pool.as_deref());
    probed.await.map(Json)
}

#[derive(Debug, Deserialize)]
struct ReloadQuery {
    #[serde(default)]
    plan: bool,
    reason: Option<String>,
}

async fn reload(
    State(shared): Ours,
    Extension(asker): Extension<Asker>,
    Query(query): Query<ReloadQuery>,
) -> Answer<Reloaded> {
    let by = match clean(query.reason)? {
        Some(reason) => format!("{}: {reason}", asker.words()),
        None => asker.words(),
    };
    let request = |answer| Request::Reload {
        is_plan: query.plan,
        by,
        answer,
    };
    Ok(Json(ask(&shared, request).await??))
}

#[derive(Debug, Deserialize)]
struct NodeQuery {
    pool: Option<String>,
    deadline: Option<String>,
    reason: Option<String>,
}

async fn administer(
    State(shared): Ours,
    Extension(asker): Extension<Asker>,
    Path((node, verb)): Path<(String, String)>,
    Query(query): Query<NodeQuery>,
) -> Answer<Changed> {
    let wanted = match verb.as_str() {
        "drain" => Wanted::Draining,
        "resume" => Wanted::Active,
        "disable" => Wanted::Disabled,
        _ => {
            return Err(Refusal::new(
                StatusCode::NOT_FOUND,
                "there is nothing at this path",
            ));
        }
    };
    let deadline = deadline(wanted, query.deadline.as_deref())?;
    let reason = clean(query.reason)?;
    let request = |answer| Request::Administer {
        node,
        pool: query.pool,
        wanted,
        deadline,
        by: asker.words(),
        reason,
        answer,
    };
    let changed = ask(&shared, request).await??;
    Ok(Json(Changed {
        state: wanted,
        deadline_s: deadline.map(|deadline| deadline.as_secs()),
        changed,
    }))
}

async fn pin(
    State(shared): Ours,
    Extension(asker): Extension<Asker>,
    Path(partner): Path<String>,
    body: Result<Json<PinWish>, JsonRejection>,
) -> Answer<PinsChanged> {
    let Json(wanted) = body.map_err(|error| Refusal::wrong(error.body_text()))?;
    let wish = Wish {
        partner,
        node: wanted.node,
        pool: wanted.pool,
        affinity: wanted.affinity,
        is_now: wanted.now,
        by: asker.words(),
        reason: clean(wanted.reason)?,
    };
    let changed = ask(&shared, |answer| Request::Pin { wish, answer }).await??;
    Ok(Json(PinsChanged { changed }))
}

#[derive(Debug, Deserialize)]
struct UnpinQuery {
    pool: Option<String>,
    reason: Option<String>,
}

async fn unpin(
    State(shared): Ours,
    Extension(asker): Extension<Asker>,
    Path(subject): Path<String>,
    Query(query): Query<UnpinQuery>,
) -> Answer<PinsRemoved> {
    let unwish = Unwish {
        subject,
        pool: query.pool,
        by: asker.words(),
        reason: clean(query.reason)?,
    };
    let removed = ask(&shared, |answer| Request::Unpin { unwish, answer }).await??;
    Ok(Json(PinsRemoved { removed }))
}

#[derive(Debug, Deserialize)]
struct ImportQuery {
    #[serde(default)]
    dry_run: bool,
}

async fn import(
    State(shared): Ours,
    Extension(asker): Extension<Asker>,
    Path(verb): Path<String>,
    Query(query): Query<ImportQuery>,
    body: Result<Json<PinFile>, JsonRejection>,
) -> Answer<Imported> {
    if verb != "import" {
        let error = "pins take PUT and DELETE; POST is for /v1/pins/import";
        return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, error));
    }
    let Json(file) = body.map_err(|error| unreadable(&error))?;
    let request = |answer| Request::Import {
        file: Box::new(file),
        is_dry_run: query.dry_run,
        by: asker.words(),
        answer,
    };
    Ok(Json(ask(&shared, request).await??))
}

/// A file that is no export is a file with a mistake.
fn unreadable(error: &JsonRejection) -> Refusal {
    let text = error.body_text();
    let is_of_file = matches!(
        error,
        JsonRejection::JsonSyntaxError(_) | JsonRejection::JsonDataError(_)
    );
    if is_of_file {
        PinRefused::Mistakes(vec![text]).into()
    } else {
        Refusal::wrong(text)
    }
}

fn deadline(wanted: Wanted, text: Option<&str>) -> Result<Option<Duration>, Refusal> {
    let Some(text) = text else { return Ok(None) };
    if wanted != Wanted::Draining {
        return Err(Refusal::wrong("only a drain has a deadline"));
    }
    let deadline = parse_duration(text);
    let deadline = deadline.ok_or_else(|| {
        Refusal::wrong(format!(
            "deadline \"{text}\" is no duration, such as \"10m\""
        ))
    })?;
    Ok(Some(deadline))
}

/// A reason goes into log lines and files: one line, not too long.
fn clean(reason: Option<String>) -> Result<Option<String>, Refusal> {
    match reason {
        Some(text) if text.len() > REASON_MAX || text.chars().any(char::is_control) => {
            let error = format!("a reason is one line of at most {REASON_MAX} bytes");
            Err(Refusal::wrong(error))
        }
        Some(text) if text.trim().is_empty() => Ok(None),
        reason => Ok(reason),
    }
}

/// What the governor knows at this moment.
async fn view(shared: &Shared) -> Result<View, Refusal> {
    let (answer, view) = oneshot::channel();
    let asked = async {
        shared.governor.send(Command::View(answer)).await.ok()?;
        view.await.ok()
    };
    let view = timeout(GOVERNOR_TIMEOUT, asked).await.ok().flatten();
    view.ok_or_else(|| Refusal::silent("the governor"))
}

/// What control answers.
async fn ask<T>(
    shared: &Shared,
    request: impl FnOnce(oneshot::Sender<T>) -> Request,
) -> Result<T, Refusal> {
    let (answer, answered) = oneshot::channel();
    let asked = async {
        shared.requests.send(request(answer)).await.ok()?;
        answered.await.ok()
    };
    let answer = timeout(CONTROL_TIMEOUT, asked).await.ok().flatten();
    answer.ok_or_else(|| Refusal::silent("control"))
}

/// It answers within one round of its loop.
const GOVERNOR_TIMEOUT: Duration = Duration::from_secs(3);
/// Reloads queue behind one another.
const CONTROL_TIMEOUT: Duration = Duration::from_secs(50);
const REASON_MAX: usize = 500;
/// A full table, with long names.
const IMPORT_MAX: usize = 128 << 20;
