//! What every source answers.

use std::sync::Arc;

use http::StatusCode;
use tidings::Principal;
use tidings_brokers::state::StateError;
use tidings_transports::Problem;

/// What a source says about a request.
pub enum Verdict {
    /// Its credential is not there.
    Absent,
    /// This is who asks.
    Accepted(Arc<Principal>),
    /// The credential is there and wrong.
    Refused(Problem),
    /// It can't be known at the moment. This never counts as "wrong", and never as "not there".
    Unknown(Problem),
}

/// 401 for a credential that is wrong (RFC 6750 §3.1).
pub fn invalid(detail: impl Into<String>) -> Problem {
    Problem::unauthorized(Some("invalid_token"), detail)
}

/// 401 for one that has run out.
pub fn expired() -> Problem {
    Problem { code: "expired-credential", ..invalid("the credential has expired") }
}

/// 401 for one that was revoked.
pub fn revoked() -> Problem {
    Problem { code: "revoked-credential", ..invalid("the credential was revoked") }
}

/// 503 for one that may have been shut out elsewhere, where that is not heard of here.
pub fn unheard() -> Problem {
    let detail = "this replica does not hear of revocations at the moment; come back, or go to another";
    Problem::unavailable(2, "cut-off", detail)
}

/// 400 for a request that says more than one thing (RFC 6750 §3.1).
pub fn unclear(why: &str) -> Problem {
    Problem {
        status: StatusCode::BAD_REQUEST,
        code: "unclear-credential",
        ..Problem::unauthorized(Some("invalid_request"), why)
    }
}

/// 503 when the store can't be read.
pub fn unreadable(error: &StateError) -> Problem {
    tracing::error!(%error, "the store of keys and tickets can't be read");
    Problem::unavailable(2, "store-unavailable", "credentials can't be checked at the moment")
}
