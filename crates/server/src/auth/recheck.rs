//! Asking the app again about streams that are open.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use futures_util::StreamExt;
use http::HeaderMap;
use tidings::principal::Revocation;
use tidings::{Clock, CloseReason, Principal, Timestamp};

use super::RevokeCallback;
use super::asker::{Answered, Asker};

/// How often it is looked whether a session is due. A tenth of the shortest interval anybody needs.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The most questions at once, all apps together; each app has its own bound as well.
const AT_ONCE: usize = 64;

/// The sessions that the app is asked about again, for as long as somebody holds their principal. One for the whole
/// program; whoever starts the program runs it.
pub struct Recheck {
    sessions: Mutex<HashMap<Key, Session>>,
    clock: Arc<dyn Clock>,
    revoke: RevokeCallback,
}

/// A session of one source: two apps may give the same id.
type Key = (usize, Arc<str>);

struct Session {
    asker: Arc<Asker>,
    question: HeaderMap,
    principals: Vec<Weak<Principal>>,
    /// Until when it is kept for a ticket that nobody has come with yet.
    kept_until: Timestamp,
    asked_at: Timestamp,
    good_at: Timestamp,
}

impl Session {
    /// Whether it may be that of `principal`: two profiles may give two logins the same id.
    fn is_of(&self, principal: &Principal) -> bool {
        self.asker.namespace() == principal.namespace.as_ref()
    }

    fn is_live(&self) -> bool {
        self.principals.iter().any(|principal| principal.strong_count() > 0)
    }
}

impl Recheck {
    /// Nobody yet. `revoke` ends the live streams of a session.
    pub fn new(clock: Arc<dyn Clock>, revoke: RevokeCallback) -> Self {
        Recheck { sessions: Mutex::default(), clock, revoke }
    }

    /// Asks when it is time, for ever.
    pub async fn run(self: Arc<Self>) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            self.ask_due().await;
        }
    }

    /// Takes note of who was accepted by asking at `asked_at`.
    pub(super) fn add(&self, asker: &Arc<Asker>, principal: &Arc<Principal>, question: HeaderMap, asked_at: Timestamp) {
        let Some(session) = &principal.session else { return };
        if asker.recheck.is_none() {
            return;
        }
        let mut sessions = self.sessions();
        if sessions.len().is_power_of_two() {
            let now = self.clock.now();
            sessions.retain(|_, session| session.is_live() || session.kept_until > now);
        }
        let session = sessions.entry(key(asker, session)).or_insert_with(|| Session {
            asker: asker.clone(),
            question: HeaderMap::new(),
            principals: Vec::new(),
            kept_until: Timestamp(0),
            asked_at,
            good_at: asked_at,
        });
        session.question = question;
        session.asked_at = session.asked_at.max(asked_at);
        session.good_at = session.good_at.max(asked_at);
        session.principals.retain(|known| known.strong_count() > 0);
        if !session.principals.iter().any(|known| std::ptr::eq(known.as_ptr(), Arc::as_ptr(principal))) {
            session.principals.push(Arc::downgrade(principal));
        }
    }

    /// Keeps the session of `principal` until `until`, for a ticket that was made for it.
    pub(super) fn keep(&self, principal: &Principal, until: Timestamp) {
        let Some(id) = &principal.session else { return };
        let mut sessions = self.sessions();
        for (_, session) in sessions.iter_mut().filter(|((_, known), of)| known == id && of.is_of(principal)) {
            session.kept_until = session.kept_until.max(until);
        }
    }

    /// Counts `principal`, which came with a ticket, as one of its session. Whether that is known: if not, nobody
    /// would ask about it again.
    pub(super) fn join(&self, principal: &Arc<Principal>) -> bool {
        let Some(id) = &principal.session else { return false };
        let mut joined = false;
        let mut sessions = self.sessions();
        for (_, session) in sessions.iter_mut().filter(|((_, known), of)| known == id && of.is_of(principal)) {
            session.principals.push(Arc::downgrade(principal));
            joined = true;
        }
        joined
    }

    /// Asks about every session whose time it is.
    pub async fn ask_due(&self) {
        let now = self.clock.now();
        let due: Vec<(Key, Arc<Asker>, HeaderMap)> = {
            let mut sessions = self.sessions();
            let askers: HashMap<usize, &Arc<Asker>> =
                sessions.iter().map(|((source, _), session)| (*source, &session.asker)).collect();
            for asker in askers.values() {
                asker.forget_old(now);
            }
            sessions.retain(|_, session| session.is_live() || session.kept_until > now);
            let is_due = |session: &Session| {
                let every = session.asker.recheck.unwrap_or(Duration::MAX);
                session.is_live() && now.since(session.asked_at) >= every
            };
            let due = sessions.iter_mut().filter(|(_, session)| is_due(session));
            due.map(|(key, session)| {
                session.asked_at = now;
                (key.clone(), session.asker.clone(), session.question.clone())
            })
            .collect()
        };
        futures_util::stream::iter(due)
            .for_each_concurrent(AT_ONCE, |(key, asker, question)| async move {
                let answered = asker.ask(question).await;
                if let Some(reason) = self.judge(&key, &asker, answered, now) {
                    // Forgotten first, so that who comes back at once is asked about anew.
                    asker.forget(&key.1);
                    (self.revoke)(Revocation::session(key.1).within(asker.namespace().cloned()), reason);
                }
            })
            .await;
    }

    /// What the answer means for the streams of the session: nothing, or why they end.
    fn judge(&self, key: &Key, asker: &Asker, answered: Answered, asked_at: Timestamp) -> Option<CloseReason> {
        let mut sessions = self.sessions();
        let session = sessions.get_mut(key)?;
        let reason = match answered {
            Answered::Yes(draft) => {
                let new = asker.principal(*draft, Some(&key.1));
                let changed = |old: &Principal| {
                    let rights =
                        old.source != new.source || (old.publish == new.publish && old.operator == new.operator);
                    old.id != new.id || old.grants != new.grants || !rights
                };
                if !session.principals.iter().filter_map(Weak::upgrade).any(|old| changed(&old)) {
                    session.good_at = session.good_at.max(asked_at);
                    return None;
                }
                CloseReason::Reauthenticate
            }
            Answered::No(_) => CloseReason::Revoked,
            Answered::Unknown(_) if self.clock.now().since(session.good_at) < asker.max_stale => return None,
            Answered::Unknown(_) => CloseReason::Unavailable,
        };
        sessions.remove(key);
        Some(reason)
    }

    fn sessions(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Session>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(asker: &Arc<Asker>, session: &Arc<str>) -> Key {
    (Arc::as_ptr(asker) as usize, session.clone())
}

impl fmt::Debug for Recheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recheck({} sessions)", self.sessions().len())
    }
}
