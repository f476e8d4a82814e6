//! Sessions: a login, known by a cookie. What the cookie says is nowhere kept, only its hash.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::extract::FromRequestParts;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, header, request};
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use sha2::{Digest, Sha256};
use tidings::{Clock, Principal, Profile, Timestamp};
use tidings_transports::{Authenticate, Problem, Request};

use crate::app::App;
use crate::db::Db;
use crate::fault::{Fault, Result};
use crate::users::User;
use crate::viewer::{Role, Viewer};

/// The name of the cookie.
pub const COOKIE: &str = "bookshelf_session";

/// How long a login lasts.
const LASTS: Duration = Duration::from_secs(30 * 86_400);

/// A login.
#[derive(Clone, Debug)]
pub struct Session {
    /// Its name, which is no secret: streams are ended by it.
    pub id: String,
    /// Until when it counts.
    pub expires: Timestamp,
    /// Whose it is.
    pub user: User,
}

/// Begins a session, and gives what the cookie is to say.
pub fn begin(tx: &Transaction<'_>, user: i64, now: Timestamp) -> Result<String> {
    let (mut secret, mut id) = ([0; 32], [0; 8]);
    for random in [&mut secret[..], &mut id[..]] {
        getrandom::fill(random).map_err(|error| Fault::Broken(format!("the system gave no random bytes: {error}")))?;
    }
    let token = URL_SAFE_NO_PAD.encode(secret);
    tx.execute("DELETE FROM sessions WHERE expires <= ?1", [now.0 as i64])?;
    tx.execute(
        "INSERT INTO sessions (hash, id, user, created, expires) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![hash(&token), URL_SAFE_NO_PAD.encode(id), user, now.0 as i64, now.after(LASTS).0 as i64],
    )?;
    Ok(token)
}

/// The session of a cookie, if it counts.
pub fn find(db: &Connection, token: &str, now: Timestamp) -> Result<Option<Session>> {
    let sql = "SELECT users.id, users.name, users.role, users.password, sessions.id, sessions.expires
               FROM sessions JOIN users ON users.id = sessions.user WHERE sessions.hash = ?1 AND sessions.expires > ?2";
    let mut statement = db.prepare_cached(sql)?;
    let found = statement.query_row(params![hash(token), now.0 as i64], |row| {
        let expires: i64 = row.get(5)?;
        Ok(Session { user: User::read(row)?, id: row.get(4)?, expires: Timestamp(expires.unsigned_abs()) })
    });
    Ok(found.optional()?)
}

/// Ends a session.
pub fn end(tx: &Transaction<'_>, id: &str) -> Result<()> {
    tx.execute("DELETE FROM sessions WHERE id = ?1", [id])?;
    Ok(())
}

/// Ends all sessions of a user.
pub fn end_all_of(tx: &Transaction<'_>, user: i64) -> Result<()> {
    tx.execute("DELETE FROM sessions WHERE user = ?1", [user])?;
    Ok(())
}

/// The header that keeps the cookie, or with nothing to keep, removes it.
pub fn set_cookie(token: Option<&str>) -> String {
    let (token, age) = token.map_or(("", 0), |token| (token, LASTS.as_secs()));
    format!("{COOKIE}={token}; Path=/; Max-Age={age}; HttpOnly; SameSite=Lax")
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

/// What the cookie of a request says (RFC 6265 §5.4).
fn token(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == COOKIE).map(|(_, value)| value)
}

/// The wall before everything: the app's own requests and the hub's streams come through it alike.
pub struct Wall {
    db: Db,
    profile: Arc<Profile>,
    clock: Arc<dyn Clock>,
}

impl Wall {
    /// Lets in who has a session in the database.
    pub fn new(db: Db, profile: Arc<Profile>, clock: Arc<dyn Clock>) -> Wall {
        Wall { db, profile, clock }
    }

    /// The session of a request. A cookie that no longer counts is refused, and never taken for none.
    pub async fn session(&self, headers: &HeaderMap) -> std::result::Result<Session, Problem> {
        let Some(token) = token(headers).map(str::to_owned) else {
            return Err(Problem::unauthorized(None, "log in first"));
        };
        let now = self.clock.now();
        let found = self.db.read(move |db| find(db, &token, now)).await?;
        found.ok_or_else(|| Problem::unauthorized(Some("invalid_token"), "this session has ended: log in again"))
    }

    fn principal(&self, session: &Session) -> Principal {
        let mut grants = vec![format!("user/{}", session.user.id), format!("role/{}", session.user.role.name())];
        if session.user.role == Role::Admin {
            grants.push("job/*".into());
        }
        let grants = self.profile.hold(grants.iter().filter_map(|grant| grant.parse().ok()));
        Principal {
            namespace: self.profile.namespace().map(Into::into),
            session: Some(session.id.as_str().into()),
            expires_at: Some(session.expires),
            operator: session.user.role == Role::Admin,
            ..Principal::new(&session.user.id.to_string(), grants, "session")
        }
    }
}

#[async_trait]
impl Authenticate for Wall {
    async fn authenticate(&self, request: Request<'_>) -> std::result::Result<Arc<Principal>, Problem> {
        let session = self.session(request.headers).await?;
        Ok(Arc::new(self.principal(&session)))
    }
}

/// Whoever asks something of the app.
#[derive(Clone, Debug)]
pub struct Visitor(pub Session);

impl Visitor {
    /// What they may see.
    pub fn viewer(&self) -> Viewer {
        self.0.user.viewer()
    }

    /// Refuses who is no admin.
    pub fn must_be_admin(&self) -> Result<()> {
        match self.0.user.role {
            Role::Admin => Ok(()),
            Role::Member => {
                Err(Fault::refused(http::StatusCode::FORBIDDEN, "not-an-admin", "only an admin may do that"))
            }
        }
    }
}

impl FromRequestParts<Arc<App>> for Visitor {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut request::Parts, app: &Arc<App>) -> std::result::Result<Self, Problem> {
        app.wall.session(&parts.headers).await.map(Visitor)
    }
}
