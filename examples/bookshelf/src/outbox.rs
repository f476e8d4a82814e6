//! What is to be told stands in the transaction that made it so, and is told after its commit: in order, and once.
//!
//! The commit wakes the task that tells. A crash between the commit and the telling leaves the rows, and the next start tells them; a crash
//! between the telling and the removal of the rows leaves rows that the log has already, which it knows by their marks.

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

/// How long it is remembered what is told only once.
const REMEMBERED_MS: i64 = 30 * 86_400_000;

/// How the ids of requests begin that are rows of the outbox; the mark of the row follows.
const REQUEST: [u8; 8] = *b"outbox\0\0";

/// What the log knows a row by.
type Mark = [u8; 8];

/// Has `data` told as an event `name` once the transaction is committed. `owner` is the user it is for, beside the admins; none is everybody.
pub fn put(transaction: &Transaction<'_>, name: &str, data: &impl Serialize, owner: Option<i64>) -> Result<()> {
    let data = serde_json::to_string(data).map_err(|error| Fault::Broken(error.to_string()))?;
    let scope = owner.map(|owner| json!({ "owner": owner }).to_string());
    transaction
        .prepare_cached("INSERT INTO outbox (name, data, scope) VALUES (?1, ?2, ?3)")?
        .execute(params![name, data, scope])?;
    Ok(())
}

/// The same once for each `key`, however often it is said within a month.
pub fn put_once(
    tx: &Transaction<'_>,
    key: &str,
    name: &str,
    data: &impl Serialize,
    owner: Option<i64>,
    now: i64,
) -> Result<()> {
    tx.execute("DELETE FROM told_once WHERE at < ?1", [now.saturating_sub(REMEMBERED_MS)])?;
    let is_new = tx.execute("INSERT OR IGNORE INTO told_once (key, at) VALUES (?1, ?2)", params![key, now])? > 0;
    if is_new { put(tx, name, data, owner) } else { Ok(()) }
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
    mark: Mark,
    name: String,
    data: String,
    scope: Option<String>,
}

impl Row {
    fn event(&self, hub: &Hub, profile: &Profile) -> Result<NewEvent> {
        let broken = |error: &dyn std::fmt::Display| Fault::Broken(format!("the event {}: {error}", self.name));
        let raw = |text: &str| RawValue::from_string(text.to_owned()).map_err(|error| broken(&error));
        let scope = self.scope.as_deref().map(raw).transpose()?;
        let draft = Draft { data: raw(&self.data)?, scope, ..Draft::new(&self.name) };
        let event = profile.derive(draft, hub.clock().now(), hub.limits()).map_err(|error| broken(&error))?;
        Ok(NewEvent { dedup: Some(dedup(self.mark)), ..event })
    }
}

/// Tells what is in the outbox.
pub struct Outbox {
    db: Db,
    hub: Arc<Hub>,
    profile: Arc<Profile>,
    /// Rows that the log has already, and that could not be removed yet: by this process, or by one that was killed before it did.
    known: HashSet<Mark>,
}

impl Outbox {
    /// Finds out what the log has already. From now on a transaction fails that puts what the profile refuses into the outbox.
    pub async fn open(db: Db, hub: Arc<Hub>, profile: Arc<Profile>) -> Result<Outbox> {
        let checked = (hub.clone(), profile.clone());
        db.guard(move |db, before| {
            let rows = after(db, before, u32::MAX)?;
            rows.iter().try_for_each(|row| row.event(&checked.0, &checked.1).map(drop))
        });
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
        // The log has them from here on, whether they can be removed now or not.
        self.known.extend(rows.iter().map(|row| row.mark));
        let cursor = published.iter().rev().find_map(|published| published.cursor).map(|cursor| cursor.to_string());
        self.db.write(move |db| remove(db, last, cursor.as_deref())).await?;
        for row in &rows {
            self.known.remove(&row.mark);
        }
        Ok(rows.len())
    }

    /// The event of a row; none if the log has it, or if the profile refuses it by now: one that was changed since the row was committed.
    fn event(&self, row: &Row) -> Option<NewEvent> {
        if self.known.contains(&row.mark) {
            return None;
        }
        let event = row.event(&self.hub, &self.profile);
        event
            .inspect_err(|fault| tracing::error!(%fault, "the profile refuses what was committed under another one"))
            .ok()
    }

    /// The rows that the log tells of after `told`.
    async fn known_after(&self, told: Option<String>) -> Result<HashSet<Mark>> {
        let head = self.hub.broker().head();
        let told = told.and_then(|told| told.parse::<Cursor>().ok()).filter(|told| told.epoch == head.epoch);
        let mut after = told.map_or(head.trimmed, |told| told.offset.max(head.trimmed));
        let mut known = HashSet::new();
        loop {
            let query = Query { topics: None, after, until: Offset(u64::MAX), limit: 1_000, max_bytes: 4 << 20 };
            match self.hub.broker().read(query).await {
                Ok(page) => {
                    known.extend(page.events.iter().filter_map(|event| mark_of(event.dedup.as_ref()?)));
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

fn dedup(mark: Mark) -> Dedup {
    let mut request = [0; 16];
    request[..8].copy_from_slice(&REQUEST);
    request[8..].copy_from_slice(&mark);
    Dedup { request, index: 0, of: 1 }
}

fn mark_of(dedup: &Dedup) -> Option<Mark> {
    dedup.request.strip_prefix(&REQUEST)?.try_into().ok()
}

fn count(db: &Connection) -> Result<i64> {
    Ok(db.query_row("SELECT count(*) FROM outbox", [], |row| row.get(0))?)
}

fn told(db: &Connection) -> Result<Option<String>> {
    Ok(db.query_row("SELECT cursor FROM told", [], |row| row.get(0)).optional()?)
}

fn oldest(db: &Connection) -> Result<Vec<Row>> {
    after(db, 0, AT_ONCE)
}

fn after(db: &Connection, id: i64, limit: u32) -> Result<Vec<Row>> {
    let sql = "SELECT id, mark, name, data, scope FROM outbox WHERE id > ?1 ORDER BY id LIMIT ?2";
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map([id, i64::from(limit)], |row| {
        Ok(Row { id: row.get(0)?, mark: row.get(1)?, name: row.get(2)?, data: row.get(3)?, scope: row.get(4)? })
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
