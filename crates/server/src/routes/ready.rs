//! How the program is: for those who watch over it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use serde_json::{Value, json};
use tidings_brokers::state::AccessStore;
use tidings_transports::Service;

use super::Shared;
use crate::assemble::Side;
use crate::inspect::open_by_transport;
use crate::metrics;

pub(super) async fn health() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

pub(super) async fn ready(State(shared): State<Arc<Shared>>) -> Response {
    let open = open_by_transport(&shared.streams);
    let (status, word) = match standing(&shared.service, &*shared.doors.store) {
        Standing::Draining => (StatusCode::SERVICE_UNAVAILABLE, "draining"),
        Standing::CutOff => (StatusCode::SERVICE_UNAVAILABLE, "cut-off"),
        Standing::Ready => (StatusCode::OK, "ready"),
    };
    (status, Json(json!({ "status": word, "streams": open }))).into_response()
}

/// Whether new clients should be sent here.
enum Standing {
    Ready,
    /// It is about to stop.
    Draining,
    /// The log, or who was shut out, is kept elsewhere and can't be heard of now. Streams that are open stay.
    CutOff,
}

fn standing(service: &Service, access: &dyn AccessStore) -> Standing {
    if service.draining.load(Ordering::SeqCst) {
        Standing::Draining
    } else if service.hub.broker().standing() == tidings::Standing::CutOff || !access.is_current() {
        Standing::CutOff
    } else {
        Standing::Ready
    }
}

pub(super) async fn side_endpoint(State((shared, side)): State<(Arc<Shared>, Arc<Side>)>) -> Response {
    let draining = !matches!(standing(&shared.service, &*shared.doors.store), Standing::Ready);
    let clients = side.streams.iter().map(|stream| stream.open_now()).sum();
    let status = if draining && !side.lives { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    (status, Json(side.ready.answer(clients, draining))).into_response()
}

pub(super) async fn show_metrics(State(shared): State<Arc<Shared>>) -> Response {
    let text = metrics::render(&shared.metrics);
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response()
}
