//! Logging in and out.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use serde::Deserialize;
use serde_json::json;
use tidings::{CloseReason, Revocation};

use super::body::{Address, Body};
use crate::app::App;
use crate::fault::{Fault, Result};
use crate::session::{self, Visitor};
use crate::users::{self, Me, User};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Login {
    name: String,
    password: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewPassword {
    current: String,
    new: String,
}

pub(super) async fn log_in(
    State(app): State<Arc<App>>,
    Address(address): Address,
    Body(login): Body<Login>,
) -> Result<Response> {
    let Login { name, password } = login;
    app.logins.count(&name, address, app.clock.ticks())?;
    let asked = name.clone();
    let found = app.db.read(move |db| users::named(db, &asked)).await?;
    let (user, is_right) = check(&app, found, password).await?;
    let Some(user) = user.filter(|_| is_right) else {
        // Not which of the two is wrong: nobody learns here who has a login.
        let detail = "the name or the password is wrong";
        return Err(Fault::refused(StatusCode::UNAUTHORIZED, "wrong-password", detail));
    };
    app.logins.forget(&name, address);
    logged_in(&app, &user, false).await
}

pub(super) async fn log_out(State(app): State<Arc<App>>, Visitor(session): Visitor) -> Result<Response> {
    let id = session.id.clone();
    app.db.write(move |tx| session::end(tx, &id)).await?;
    close(&app, Revocation::session(session.id));
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, session::set_cookie(None))]).into_response())
}

/// Ends all sessions of the user, and begins a new one for whoever asks.
pub(super) async fn change_password(
    State(app): State<Arc<App>>,
    Visitor(session): Visitor,
    Address(address): Address,
    Body(asked): Body<NewPassword>,
) -> Result<Response> {
    if !users::may_be_password(&asked.new) {
        return Err(Fault::invalid("new", users::password_rule()));
    }
    let name = session.user.name.clone();
    app.logins.count(&name, address, app.clock.ticks())?;
    let (user, is_right) = check(&app, Some(session.user), asked.current).await?;
    let Some(user) = user.filter(|_| is_right) else {
        return Err(Fault::refused(StatusCode::FORBIDDEN, "wrong-password", "the current password is another one"));
    };
    app.logins.forget(&name, address);
    let hash = hash(&app, asked.new).await?;
    let id = user.id;
    app.db
        .write(move |tx| {
            users::set_password(tx, id, &hash)?;
            session::end_all_of(tx, id)
        })
        .await?;
    close(&app, Revocation::principal(id.to_string()));
    logged_in(&app, &user, true).await
}

pub(super) async fn me(Visitor(session): Visitor) -> Json<Me> {
    Json(session.user.me())
}

async fn hash(app: &Arc<App>, password: String) -> Result<String> {
    let _turn = app.logins.turn().await?;
    let app = app.clone();
    let hashed = tokio::task::spawn_blocking(move || app.passwords.hash(&password)).await;
    hashed.map_err(|error| Fault::Broken(error.to_string()))?
}

/// Whether the password is that of the user.
async fn check(app: &Arc<App>, user: Option<User>, password: String) -> Result<(Option<User>, bool)> {
    let _turn = app.logins.turn().await?;
    let app = app.clone();
    let checked = tokio::task::spawn_blocking(move || {
        let is_right = password.len() <= *users::PASSWORD.end() && app.passwords.is_of(user.as_ref(), &password);
        (user, is_right)
    });
    checked.await.map_err(|error| Fault::Broken(error.to_string()))
}

async fn logged_in(app: &App, user: &User, anew: bool) -> Result<Response> {
    let (id, now) = (user.id, app.clock.now());
    let token = app.db.write(move |tx| session::begin(tx, id, now)).await?;
    let cookie = [(header::SET_COOKIE, session::set_cookie(Some(&token)))];
    Ok(match anew {
        true => (StatusCode::NO_CONTENT, cookie).into_response(),
        false => (cookie, Json(json!({ "user": user.me() }))).into_response(),
    })
}

/// Ends the streams at once; the database has forgotten the session before, so none begins after.
fn close(app: &App, revocation: Revocation) {
    app.hub.close(&revocation.within(app.profile.namespace().map(Into::into)), CloseReason::Revoked);
}
