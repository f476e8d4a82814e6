//! What is to be told stands in the transaction that made it so, and is told after its commit: in order, and once.
//!
//! The commit wakes the task that tells. A crash between the commit and the telling leaves the rows, and the next start tells them; a crash
//! between the telling and the removal of the rows leaves rows that the log has already, which it knows by their ids.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Transaction, params};
use serde::Serialize;
use serde_json::json;
use serde_json::value::RawValue;
use tidings::event::Dedup;
use tidings::{BrokerError, Cursor, Draft, Hub, NewEvent, Offset, Profile, Query};

use crate::db::Db;
use crate::fault::{Fault, Result};

/// How many rows are told in one go: one write and one sync of the log.
const AT_ONCE: u32 = 500;

/// After how long a log that can't take events now is asked again.
const AGAIN: Duration = Duration::from_millis(500);

/// How the ids of requests begin that are rows of the outbox.
const REQUEST: [u8; 8] = *b"outbox\0\0";

/// Has `data` told as an event `name` once the transaction is committed. `owner` is the user it is for, beside the admins; none is everybody.
pub fn put(transaction: &Transaction<'_>, name: &str, data: &impl Serialize, owner: Option<i64>) -> Result<()> {
    let data = serde_json::to_string(data).map_err(|error| Fault::Broken(error.to_string()))?;
    let scope = owner.map(|owner| json!({ "owner": owner }).to_string());
    transaction
        .prepare_cached("INSERT INTO outbox (name, data, scope) VALUES (?1, ?2, ?3)")?
        .execute(params![name, data, scope])?;
    Ok(())
}

/// A draft of an event. `owner` as in [`put`].
pub fn draft(name: &str, data: &impl Serialize, owner: Option<i64>) -> Result<Draft> {
    let raw = |text: String| RawValue::from_string(text).map_err(|error| Fault::Broken(error.to_string()));
    let data = serde_json::to_string(data).map_err(|error| Fault::Broken(error.to_string()))?;
    let scope = owner.map(|owner| raw(json!({ "owner": owner }).to_string())).transpose()?;
    Ok(Draft { data: raw(data)?, scope, ..Draft::new(name) })
}

/// A row on its way.
struct Row {
    id: i64,
    name: String,
    data: String,
    scope: Option<String>,
}

/// Tells what is in the outbox.
pub struct Outbox {
    db: Db,
    hub: Arc<Hub>,
    profile: Arc<Profile>,
    /// Rows that the log has already: told by a process that was killed before it removed them.
    known: HashSet<i64>,
}

impl Outbox {
    /// Finds out what the log has already.
    pub async fn open(db: Db, hub: Arc<Hub>, profile: Arc<Profile>) -> Result<Outbox> {
        let mut outbox = Outbox { db, hub, profile, known: HashSet::new() };
        let (waiting, told) = outbox.db.read(|db| Ok((count(db)?, told(db)?))).await?;
        if waiting > 0 {
            outbox.known = outbox.known_after(told).await?;
            tracing::info!(waiting, told = outbox.known.len(), "the program ended before all was told; it is told now");
        }
        Ok(outbox)
    }

    /// Tells what is committed, as soon as it is, for ever.
    pub async fn run(mut self) {
        loop {
            match self.tell().await {
                Ok(0) => self.db.committed().await,
                Ok(_) => {}
                Err(fault) => {
                    tracing::error!(%fault, "what has changed can't be told now; it is tried again");
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }

    /// Tells the oldest rows and removes them; says how many there were.
    pub async fn tell(&mut self) -> Result<usize> {
        let rows = self.db.read(oldest).await?;
        let Some(last) = rows.last().map(|row| row.id) else { return Ok(0) };
        let events: Vec<NewEvent> = rows.iter().filter_map(|row| self.event(row)).collect();
        let published = self.hub.publish(events).await.map_err(|error| Fault::Broken(error.to_string()))?;
        let cursor = published.iter().rev().find_map(|published| published.cursor).map(|cursor| cursor.to_string());
        self.db.write(move |db| remove(db, last, cursor.as_deref())).await?;
        self.known.retain(|id| *id > last);
        Ok(rows.len())
    }

    /// The event of a row; none if the log has it, or if the profile refuses it, which trying again would not change.
    fn event(&self, row: &Row) -> Option<NewEvent> {
        if self.known.contains(&row.id) {
            return None;
        }
        let raw = |text: &str| RawValue::from_string(text.to_owned()).ok();
        let draft = Draft { data: raw(&row.data)?, scope: row.scope.as_deref().and_then(raw), ..Draft::new(&row.name) };
        match self.profile.derive(draft, self.hub.clock().now(), self.hub.limits()) {
            Ok(event) => Some(NewEvent { dedup: Some(dedup(row.id)), ..event }),
            Err(error) => {
                tracing::error!(name = row.name, %error, "the profile refuses an event of the app");
                None
            }
        }
    }

    /// The rows that the log tells of after `told`.
    async fn known_after(&self, told: Option<String>) -> Result<HashSet<i64>> {
        let head = self.hub.broker().head();
        let told = told.and_then(|told| told.parse::<Cursor>().ok()).filter(|told| told.epoch == head.epoch);
        let mut after = told.map_or(head.trimmed, |told| told.offset.max(head.trimmed));
        let mut known = HashSet::new();
        loop {
            let query = Query { topics: None, after, until: Offset(u64::MAX), limit: 1_000, max_bytes: 4 << 20 };
            match self.hub.broker().read(query).await {
                Ok(page) => {
                    known.extend(page.events.iter().filter_map(|event| row_of(event.dedup.as_ref()?)));
                    if page.reached <= after {
                        return Ok(known);
                    }
                    after = page.reached;
                }
                Err(BrokerError::Trimmed { resume, .. }) => after = resume,
                Err(error) => return Err(Fault::Broken(error.to_string())),
            }
        }
    }
}

fn dedup(id: i64) -> Dedup {
    let mut request = [0; 16];
    request[..8].copy_from_slice(&REQUEST);
    request[8..].copy_from_slice(&id.to_be_bytes());
    Dedup { request, index: 0, of: 1 }
}

fn row_of(dedup: &Dedup) -> Option<i64> {
    let id = dedup.request.strip_prefix(&REQUEST)?;
    Some(i64::from_be_bytes(id.try_into().ok()?))
}

fn count(db: &Connection) -> Result<i64> {
    Ok(db.query_row("SELECT count(*) FROM outbox", [], |row| row.get(0))?)
}

fn told(db: &Connection) -> Result<Option<String>> {
    Ok(db.query_row("SELECT cursor FROM told", [], |row| row.get(0)).optional()?)
}

fn oldest(db: &Connection) -> Result<Vec<Row>> {
    let mut statement = db.prepare_cached("SELECT id, name, data, scope FROM outbox ORDER BY id LIMIT ?1")?;
    let rows = statement.query_map([AT_ONCE], |row| {
        Ok(Row { id: row.get(0)?, name: row.get(1)?, data: row.get(2)?, scope: row.get(3)? })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

fn remove(db: &Transaction<'_>, last: i64, cursor: Option<&str>) -> Result<()> {
    db.execute("DELETE FROM outbox WHERE id <= ?1", [last])?;
    if let Some(cursor) = cursor {
        db.execute("INSERT OR REPLACE INTO told (one, cursor) VALUES (1, ?1)", [cursor])?;
    }
    Ok(())
}
