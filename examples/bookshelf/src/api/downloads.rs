//! The download queue.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde_json::{Value, json};

use super::body::Id;
use crate::app::App;
use crate::fault::Result;
use crate::queue::Item;
use crate::session::Visitor;
use crate::{book, queue};

pub(super) async fn list(State(app): State<Arc<App>>, visitor: Visitor) -> Result<Json<Value>> {
    let mut items = app.db.read(move |db| queue::list(db, visitor.viewer())).await?;
    app.downloads.fill_in(&mut items);
    Ok(Json(json!({ "items": items })))
}

pub(super) async fn grab(
    State(app): State<Arc<App>>,
    visitor: Visitor,
    Id(id): Id,
) -> Result<(StatusCode, Json<Item>)> {
    let now = app.now();
    let item = app.db.write(move |tx| queue::add(tx, &book::seen(tx, id, visitor.viewer())?, now)).await?;
    app.downloads.begin(&app, item.id);
    Ok((StatusCode::ACCEPTED, Json(item)))
}

pub(super) async fn retry(
    State(app): State<Arc<App>>,
    visitor: Visitor,
    Id(id): Id,
) -> Result<(StatusCode, Json<Item>)> {
    let item = app.db.write(move |tx| queue::retry(tx, &queue::seen(tx, id, visitor.viewer())?)).await?;
    app.downloads.begin(&app, item.id);
    Ok((StatusCode::ACCEPTED, Json(item)))
}

pub(super) async fn remove(State(app): State<Arc<App>>, visitor: Visitor, Id(id): Id) -> Result<StatusCode> {
    let now = app.now();
    app.db.write(move |tx| queue::remove(tx, &queue::seen(tx, id, visitor.viewer())?, now)).await?;
    app.downloads.end(id);
    Ok(StatusCode::NO_CONTENT)
}
