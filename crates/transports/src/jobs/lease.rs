//! What a worker shows.

use http::{HeaderMap, header};
use serde::Serialize;
use tidings::Hub;
use tidings::job::{Beat, LEASE_PREFIX};

use crate::problem::Problem;

/// The lease in `Authorization: Bearer tdl_…`. It is no credential of an auth source, and is looked for first.
pub(super) fn of(headers: &HeaderMap) -> Option<&str> {
    let (scheme, lease) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    Some(lease.trim()).filter(|lease| scheme.eq_ignore_ascii_case("bearer") && lease.starts_with(LEASE_PREFIX))
}

pub(super) fn needed(headers: &HeaderMap) -> Result<&str, Problem> {
    of(headers).ok_or_else(|| {
        let detail = format!("this request needs the job's lease, as `Authorization: Bearer {LEASE_PREFIX}…`");
        Problem::unauthorized(None, detail)
    })
}

/// What a worker hears whenever it says something.
#[derive(Serialize)]
pub(super) struct Heard {
    cancel: bool,
    lease_expires: u64,
}

impl Heard {
    pub(super) fn new(hub: &Hub, beat: Beat) -> Self {
        Heard { cancel: beat.cancel, lease_expires: hub.clock().now().after(beat.lease).0 }
    }
}
