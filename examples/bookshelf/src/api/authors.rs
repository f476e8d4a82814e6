//! Authors and series.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde_json::{Value, json};

use super::body::Id;
use crate::app::App;
use crate::book::{self, Search};
use crate::fault::{Fault, Result};
use crate::session::Visitor;
use crate::work::RefreshStatus;
use crate::{author, series};

pub(super) async fn list(State(app): State<Arc<App>>, visitor: Visitor) -> Result<Json<Value>> {
    let authors = app.db.read(move |db| author::list(db, visitor.viewer(), None)).await?;
    Ok(Json(json!({ "authors": authors, "refresh": app.refresh.status() })))
}

pub(super) async fn show(State(app): State<Arc<App>>, visitor: Visitor, Id(id): Id) -> Result<Json<Value>> {
    let read = app.db.read(move |db| {
        let author = author::seen(db, id, visitor.viewer())?;
        let list = book::list(db, visitor.viewer(), &Search { author: Some(id), ..Search::default() })?;
        Ok(json!({
            "id": author.id, "name": author.name, "books": author.books, "refreshedAt": author.refreshed_at, "list": list,
        }))
    });
    Ok(Json(read.await?))
}

pub(super) async fn refresh_all(State(app): State<Arc<App>>, visitor: Visitor) -> Result<(StatusCode, Json<Value>)> {
    let job = app.refresh.begin(&app, visitor.viewer().user).await?;
    Ok((StatusCode::ACCEPTED, Json(json!({ "job": job }))))
}

pub(super) async fn refresh_status(State(app): State<Arc<App>>, _: Visitor) -> Result<Json<RefreshStatus>> {
    app.refresh.status().map(Json).ok_or_else(|| Fault::missing("refresh"))
}

pub(super) async fn list_series(State(app): State<Arc<App>>, visitor: Visitor) -> Result<Json<Value>> {
    let series = app.db.read(move |db| series::list(db, visitor.viewer(), None)).await?;
    Ok(Json(json!({ "series": series })))
}

pub(super) async fn show_series(State(app): State<Arc<App>>, visitor: Visitor, Id(id): Id) -> Result<Json<Value>> {
    let read = app.db.read(move |db| {
        let series = series::seen(db, id, visitor.viewer())?;
        let list = book::list(db, visitor.viewer(), &Search { series: Some(id), ..Search::default() })?;
        Ok(json!({ "id": series.id, "name": series.name, "books": series.books, "list": list }))
    });
    Ok(Json(read.await?))
}
