//! Why a connection ended, and whether to come back.

use std::fmt;

/// Why a connection ended. Each has a code, a sentence and an answer to "shall I come back?".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// The program stops or restarts; the stream goes on elsewhere or in a moment.
    Draining,
    /// The credential ran out; come back with a new one.
    Expired,
    /// The principal, the session or the key was revoked.
    Revoked,
    /// The grants changed; come back to be asked again.
    Reauthenticate,
    /// The stream had no update for as long as its profile allows.
    Idle,
    /// The client took no byte for longer than `Limits::write_stall`.
    Stalled,
    /// The client went away.
    Gone,
    /// A limit on connections was reached.
    TooMany,
    /// An operator ended it.
    Disconnected,
    /// The client broke the rules of its transport, or sent more than the limits allow.
    Protocol,
    /// The client has no right to connect.
    Refused,
    /// What the stream was about has ended, and that was told.
    Finished,
    /// The log could not be read, or the app could not say who asks; nothing is skipped, the client resumes when it is back.
    Unavailable,
}

impl CloseReason {
    /// The number on the wire: 3xxx come back at once, 4xxx do not come back with the same credential.
    pub fn code(self) -> u16 {
        match self {
            CloseReason::Draining => 3001,
            CloseReason::Reauthenticate => 3002,
            CloseReason::Idle => 3003,
            CloseReason::Stalled => 3004,
            CloseReason::Unavailable => 3005,
            CloseReason::Gone => 3006,
            CloseReason::Expired => 4001,
            CloseReason::Revoked => 4002,
            CloseReason::TooMany => 4003,
            CloseReason::Disconnected => 4004,
            CloseReason::Protocol => 4005,
            CloseReason::Refused => 4006,
            CloseReason::Finished => 4007,
        }
    }

    /// The word for it, in metrics and on the wire.
    pub fn name(self) -> &'static str {
        match self {
            CloseReason::Draining => "draining",
            CloseReason::Reauthenticate => "reauthenticate",
            CloseReason::Idle => "idle",
            CloseReason::Stalled => "stalled",
            CloseReason::Unavailable => "unavailable",
            CloseReason::Gone => "gone",
            CloseReason::Expired => "expired",
            CloseReason::Revoked => "revoked",
            CloseReason::TooMany => "too-many",
            CloseReason::Disconnected => "disconnected",
            CloseReason::Protocol => "protocol",
            CloseReason::Refused => "refused",
            CloseReason::Finished => "finished",
        }
    }

    /// A sentence for people.
    pub fn sentence(self) -> &'static str {
        match self {
            CloseReason::Draining => "the server is restarting",
            CloseReason::Reauthenticate => "what you may see has changed",
            CloseReason::Idle => "there was no update for a long time",
            CloseReason::Stalled => "nothing was read from the stream for a long time",
            CloseReason::Unavailable => "something that is needed for it can't be reached at the moment",
            CloseReason::Gone => "the client went away",
            CloseReason::Expired => "the credential has expired",
            CloseReason::Revoked => "the credential was revoked",
            CloseReason::TooMany => "too many connections",
            CloseReason::Disconnected => "an operator ended the connection",
            CloseReason::Protocol => "the client broke the rules of the protocol",
            CloseReason::Refused => "the client has no right to connect",
            CloseReason::Finished => "it has ended, and that was told",
        }
    }

    /// Whether a client should connect again with what it has.
    pub fn come_back(self) -> bool {
        self.code() < 4000
    }

    /// All of them, for documents and metrics.
    pub const ALL: [CloseReason; 13] = [
        CloseReason::Draining,
        CloseReason::Reauthenticate,
        CloseReason::Idle,
        CloseReason::Stalled,
        CloseReason::Unavailable,
        CloseReason::Gone,
        CloseReason::Expired,
        CloseReason::Revoked,
        CloseReason::TooMany,
        CloseReason::Disconnected,
        CloseReason::Protocol,
        CloseReason::Refused,
        CloseReason::Finished,
    ];
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sentence())
    }
}
