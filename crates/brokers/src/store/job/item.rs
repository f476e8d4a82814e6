//! The items of results.
//!
//! Many to a row: five hundred small items are one or two rows, which takes a hundredth of the time that five hundred would. A
//! row's body is each item after the other, the length first as four bytes, the lowest one first.

use bytes::{Buf, Bytes};
use rusqlite::{Connection, OptionalExtension, params};
use tidings::job::JobId;

use super::super::group::Fault;
use super::record::number;

/// A row is full when it has so many bytes: whoever asks for one item reads a row.
const ROW_BYTES: usize = 32 << 10;

/// Items that are to be appended together.
pub(super) struct Page {
    from: u64,
    count: u64,
    /// Each with how many items of the page stand before it.
    rows: Vec<(u64, Vec<u8>)>,
}

impl Page {
    pub fn pack(from: u64, items: &[Bytes]) -> Result<Self, Fault> {
        let mut rows: Vec<(u64, Vec<u8>)> = Vec::new();
        for (before, item) in (0..).zip(items) {
            let length = u32::try_from(item.len()).map_err(|_| Fault::new("an item has more than 4 GiB"))?;
            if rows.last().is_none_or(|(_, body)| body.len() + 4 + item.len() > ROW_BYTES) {
                rows.push((before, Vec::new()));
            }
            if let Some((_, body)) = rows.last_mut() {
                body.extend_from_slice(&length.to_le_bytes());
                body.extend_from_slice(item);
            }
        }
        Ok(Page { from, count: items.len() as u64, rows })
    }

    pub fn bytes(&self) -> usize {
        self.rows.iter().map(|(_, body)| body.len()).sum()
    }

    /// Appends it, if it begins where the items of the job end.
    pub fn append(&self, database: &Connection, id: &JobId) -> Result<(), Fault> {
        let job: Option<(i64, i64)> = database
            .prepare_cached("SELECT number, items FROM jobs WHERE id = ?1")?
            .query_row([id.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let (job, count) = job.ok_or_else(|| Fault::new(format!("there is no job {id}")))?;
        if count != number(self.from) {
            let why = format!("job {id} has {count} items, so the next has index {count}, not {}", self.from);
            return Err(Fault::new(why));
        }
        let mut insert = database.prepare_cached("INSERT INTO job_items VALUES (?1, ?2, ?3)")?;
        for (before, body) in &self.rows {
            insert.execute(params![job, number(self.from.saturating_add(*before)), body])?;
        }
        let count = number(self.from.saturating_add(self.count));
        database.prepare_cached("UPDATE jobs SET items = ?2 WHERE number = ?1")?.execute([job, count])?;
        Ok(())
    }
}

/// Items from an index on: at most `limit`, and `max_bytes` of them, but one even if it is larger.
pub(super) fn read(
    database: &Connection,
    id: &JobId,
    from: u64,
    limit: usize,
    max_bytes: usize,
) -> Result<Vec<Bytes>, Fault> {
    // One statement, so that it sees one state. It begins with the row that has the item.
    let mut statement = database.prepare_cached(
        "SELECT first, body FROM job_items, (SELECT number FROM jobs WHERE id = ?1)
         WHERE job = number AND first >= coalesce(
            (SELECT max(first) FROM job_items AS before WHERE before.job = number AND before.first <= ?2), ?2)
         ORDER BY first",
    )?;
    let mut rows = statement.query(params![id.as_str(), number(from)])?;
    let (mut found, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let (first, body): (i64, Vec<u8>) = (row.get(0)?, row.get(1)?);
        let mut body = Bytes::from(body);
        let mut index = u64::try_from(first).unwrap_or(0);
        while !body.is_empty() {
            let item = unpack(&mut body)
                .ok_or_else(|| Fault::new(format!("the items of job {id} are damaged, in the row of item {first}")))?;
            index += 1;
            if index <= from {
                continue;
            }
            bytes += item.len();
            if found.len() == limit || (bytes > max_bytes && !found.is_empty()) {
                return Ok(found);
            }
            found.push(item);
        }
    }
    Ok(found)
}

fn unpack(body: &mut Bytes) -> Option<Bytes> {
    let length = body.try_get_u32_le().ok()? as usize;
    (length <= body.len()).then(|| body.split_to(length))
}
