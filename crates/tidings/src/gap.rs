//! A loss, told.

use serde::Serialize;

use crate::cursor::Cursor;

/// Continuity can't be proven: the subscriber may have missed events and should fetch its state anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// What happened.
    pub reason: GapReason,
    /// The place that was asked for, as the client spelled it, cut to 128 characters.
    pub asked: String,
    /// Where reading goes on.
    pub resumed: Cursor,
    /// How many events lay between the two at most, if that is known. They count all topics, so fewer of them may have
    /// been for this subscriber.
    pub at_most: Option<u64>,
}

/// Why continuity can't be proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum GapReason {
    /// The id is not one of ours: another server's, or made up by a control event of another implementation.
    Unknown,
    /// The id is of a history that was lost: the log was begun anew.
    OtherEpoch,
    /// The events after it were removed by retention.
    Trimmed,
    /// The id lies after the newest event: the log lost its end, or was restored from an older copy.
    Ahead,
}

impl GapReason {
    /// The word on the wire.
    pub fn name(self) -> &'static str {
        match self {
            GapReason::Unknown => "unknown",
            GapReason::OtherEpoch => "other-epoch",
            GapReason::Trimmed => "trimmed",
            GapReason::Ahead => "ahead",
        }
    }
}

impl Gap {
    /// The JSON object on the wire: `{"reason":"trimmed","asked":"…","resumed":"…","at_most":12}`.
    pub fn to_json(&self) -> String {
        #[derive(Serialize)]
        struct Wire<'a> {
            reason: GapReason,
            asked: &'a str,
            resumed: String,
            #[serde(skip_serializing_if = "Option::is_none")]
            at_most: Option<u64>,
        }
        let wire =
            Wire { reason: self.reason, asked: &self.asked, resumed: self.resumed.to_string(), at_most: self.at_most };
        serde_json::to_string(&wire).expect("a struct of strings and numbers is always JSON")
    }
}
