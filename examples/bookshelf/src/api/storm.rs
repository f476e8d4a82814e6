//! Events that nobody asked for, at a rate: what passes by while something is measured.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use tidings::NewEvent;

use super::body::Body;
use crate::app::App;
use crate::fault::{Fault, Result};
use crate::outbox;
use crate::session::Visitor;

/// The most events of one storm: the log keeps them all, and whoever else listens is to hear of books again soon.
const MOST: u64 = 200_000;

/// How often some are published.
const EVERY: Duration = Duration::from_millis(10);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Storm {
    /// Events a second.
    rate: u32,
    /// For how long.
    seconds: u32,
}

pub(super) async fn begin(
    State(app): State<Arc<App>>,
    visitor: Visitor,
    Body(storm): Body<Storm>,
) -> Result<(StatusCode, Json<Value>)> {
    if !app.settings.demo {
        return Err(Fault::missing("path: start the program with --demo"));
    }
    visitor.must_be_admin()?;
    if !(1..=20_000).contains(&storm.rate) || !(1..=600).contains(&storm.seconds) {
        return Err(Fault::invalid("rate", "rate is 1 to 20000 a second, for 1 to 600 seconds"));
    }
    let total = u64::from(storm.rate) * u64::from(storm.seconds);
    if total > MOST {
        return Err(Fault::invalid("seconds", format!("a storm has {MOST} events at most, and not {total}")));
    }
    let busy = |_| Fault::conflict("storm-blows", "a storm is under way");
    let turn = app.storms.clone().try_acquire_owned().map_err(busy)?;
    tokio::spawn(async move {
        let _turn = turn;
        if let Err(fault) = blow(&app, storm.rate, total).await {
            tracing::warn!(%fault, "the storm has ended early");
        }
    });
    Ok((StatusCode::ACCEPTED, Json(json!({ "events": total }))))
}

async fn blow(app: &App, rate: u32, total: u64) -> Result<()> {
    let began = tokio::time::Instant::now();
    let mut ticks = tokio::time::interval(EVERY);
    let mut sent = 0;
    while sent < total && !app.hub.is_draining() {
        ticks.tick().await;
        let due = (began.elapsed().as_secs_f64() * f64::from(rate)) as u64;
        let due = due.min(total).min(sent + 1_000);
        let events: Vec<NewEvent> = (sent..due).map(|number| noise(app, number)).collect::<Result<_>>()?;
        app.hub.publish(events).await.map_err(|error| Fault::Broken(error.to_string()))?;
        sent = due;
    }
    Ok(())
}

fn noise(app: &App, number: u64) -> Result<NewEvent> {
    let data = json!({ "id": number % 1_000, "number": number, "at": app.now() });
    let draft = outbox::draft("shelf.noise", &data, None)?;
    let event = app.profile.derive(draft, app.clock.now(), app.hub.limits());
    event.map_err(|error| Fault::Broken(error.to_string()))
}
