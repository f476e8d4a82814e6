//! Who was revoked just now.

use std::collections::VecDeque;

use crate::close::CloseReason;
use crate::principal::{Principal, Revocation};

/// A moment between two revocations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

/// The last revocations, for streams that are being opened while they happen.
#[derive(Debug, Default)]
pub(crate) struct Revoked {
    count: u64,
    recent: VecDeque<(Revocation, CloseReason)>,
}

/// More than happen while a stream is opened. Who was slower has to come back.
const RECENT_REVOCATIONS: usize = 1024;

impl Revoked {
    /// Takes note of a revocation.
    pub(crate) fn push(&mut self, revocation: Revocation, reason: CloseReason) {
        self.count += 1;
        self.recent.push_back((revocation, reason));
        if self.recent.len() > RECENT_REVOCATIONS {
            self.recent.pop_front();
        }
    }

    /// Which moment this is.
    pub(crate) fn moment(&self) -> Moment {
        Moment(self.count)
    }

    /// How the stream of `principal` ends, if it was revoked after `since`.
    pub(crate) fn since(&self, since: Moment, principal: &Principal) -> Option<CloseReason> {
        let missed = usize::try_from(self.count - since.0).unwrap_or(usize::MAX);
        if missed > self.recent.len() {
            return Some(CloseReason::Reauthenticate);
        }
        let recent = self.recent.range(self.recent.len() - missed..);
        recent.filter(|(revocation, _)| revocation.covers(principal)).map(|(_, reason)| *reason).next()
    }
}
