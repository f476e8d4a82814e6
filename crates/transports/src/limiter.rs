//! How many connections there may be.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use http::StatusCode;
use tidings::{Limits, Principal};

use crate::problem::Problem;

/// Counts connections, and refuses those above the bounds of [`Limits`].
#[derive(Debug)]
pub struct Limiter {
    counts: Mutex<Counts>,
    max: usize,
    max_per_address: usize,
    max_per_principal: usize,
    /// How many were refused.
    pub refused: AtomicU64,
}

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    addresses: HashMap<IpAddr, usize>,
    principals: HashMap<Who, usize>,
}

/// A principal: `u1` of one app is not `u1` of another.
type Who = (Option<Arc<str>>, Arc<str>);

/// A counted connection. Given back when it is dropped.
#[derive(Debug)]
pub struct Permit {
    limiter: Arc<Limiter>,
    address: Option<IpAddr>,
    principal: Option<Who>,
}

impl Limiter {
    /// With the bounds of `limits`.
    pub fn new(limits: &Limits) -> Arc<Self> {
        Arc::new(Limiter {
            counts: Mutex::default(),
            max: limits.connections,
            max_per_address: limits.connections_per_address,
            max_per_principal: limits.connections_per_principal,
            refused: AtomicU64::new(0),
        })
    }

    /// Counts a socket that was accepted from `address`; `None` if there are too many, and it has to be closed unanswered:
    /// whoever floods gets no work out of us.
    pub fn accept(self: &Arc<Self>, address: IpAddr) -> Option<Permit> {
        let mut counts = self.counts.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let of_address = counts.addresses.get(&address).copied().unwrap_or(0);
        if counts.all >= self.max || of_address >= self.max_per_address {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        counts.all += 1;
        *counts.addresses.entry(address).or_default() += 1;
        Some(Permit { limiter: self.clone(), address: Some(address), principal: None })
    }

    /// Counts a stream of `principal`. Strangers are counted by their address alone.
    pub fn stream(self: &Arc<Self>, principal: &Principal) -> Result<Permit, Problem> {
        if principal.source == "anonymous" {
            return Ok(Permit { limiter: self.clone(), address: None, principal: None });
        }
        let mut counts = self.counts.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let who = (principal.namespace.clone(), principal.id.clone());
        let count = counts.principals.entry(who.clone()).or_default();
        if *count >= self.max_per_principal {
            self.refused.fetch_add(1, Ordering::Relaxed);
            let detail = format!("this principal already has {count} streams open, which is the most allowed");
            return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-many-streams", detail)
                .header(http::header::RETRY_AFTER, "30"));
        }
        *count += 1;
        Ok(Permit { limiter: self.clone(), address: None, principal: Some(who) })
    }

    /// How many connections there are.
    pub fn open(&self) -> usize {
        self.counts.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).all
    }
}

impl Permit {
    /// Both in one, for a stream that owns its socket.
    pub fn join(mut self, mut stream: Permit) -> Permit {
        self.principal = stream.principal.take();
        self
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.address.is_none() && self.principal.is_none() {
            return;
        }
        let mut counts = self.limiter.counts.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(address) = self.address {
            counts.all -= 1;
            lower(&mut counts.addresses, &address);
        }
        if let Some(principal) = &self.principal {
            lower(&mut counts.principals, principal);
        }
    }
}

fn lower<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}
