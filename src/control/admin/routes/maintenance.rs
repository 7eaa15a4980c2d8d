//! The steps of maintenance, and the drill.

use axum::extract::{Path, Query, State};
use axum::{Extension, Json};
use serde::Deserialize;

use super::{Answer, Ours, ask, clean, view};
use crate::control::Request;
use crate::control::admin::answers::{self, MaintenanceBegun, PinsMoved, SessionsEnded};
use crate::control::admin::asker::Asker;
use crate::control::admin::drill;
use crate::control::admin::refusal::Refusal;
use crate::control::maintenance::Task;

#[derive(Debug, Deserialize)]
pub(super) struct TaskQuery {
    pool: Option<String>,
    reason: Option<String>,
    partner: Option<String>,
    sessions: Option<usize>,
}

impl TaskQuery {
    fn task(&self, node: String, asker: &Asker) -> Result<Task, Refusal> {
        Ok(Task {
            node,
            pool: self.pool.clone(),
            by: asker.words(),
            reason: clean(self.reason.clone())?,
        })
    }
}

pub(super) async fn show_drill(
    State(shared): Ours,
    Path(node): Path<String>,
    Query(query): Query<TaskQuery>,
) -> Answer<answers::Drill> {
    let view = view(&shared).await?;
    let (name, pool) = (node.clone(), query.pool.clone());
    let census = ask(&shared, |answer| Request::Census {
        node: name,
        pool,
        answer,
    });
    let census = census.await?;
    drill::drill((&shared, &view, &census), &node, query.pool.as_deref()).map(Json)
}

pub(super) async fn begin(
    State(shared): Ours,
    Extension(asker): Extension<Asker>,
    Path(node): Path<String>,
    Query(query): Query<TaskQuery>,
) -> Answer<MaintenanceBegun> {
    let task = query.task(node, &asker)?;
    let changed = ask(&shared, |answer| Request::Maintain { task, answer }).await??;
    Ok(Json(MaintenanceBegun { changed }))
}

pub(super) async fn move_away(
    State(shared): Ours,
    Extension(asker): Extension<Asker>,
    Path(node): Path<String>,
    Query(query): Query<TaskQuery>,
) -> Answer<PinsMoved> {
    let task = query.task(node, &asker)?;
    let partner = query
        .partner
        .ok_or_else(|| Refusal::wrong("?partner= says whom"))?;
    let request = |answer| Request::Move {
        task,
        partner,
        answer,
    };
    Ok(Json(ask(&shared, request).await??))
}

pub(super) async fn put_back(
    State(shared): Ours,
    Extension(asker): Extension<Asker>,
    Path(node): Path<String>,
    Query(query): Query<TaskQuery>,
) -> Answer<PinsMoved> {
    let task = query.task(node, &asker)?;
    Ok(Json(
        ask(&shared, |answer| Request::Return { task, answer }).await??,
    ))
}

pub(super) async fn end_some(
    State(shared): Ours,
    Extension(asker): Extension<Asker>,
    Path(node): Path<String>,
    Query(query): Query<TaskQuery>,
) -> Answer<SessionsEnded> {
    let task = query.task(node, &asker)?;
    let most = query
        .sessions
        .ok_or_else(|| Refusal::wrong("?sessions= says how many"))?;
    Ok(Json(
        ask(&shared, |answer| Request::End { task, most, answer }).await??,
    ))
}
