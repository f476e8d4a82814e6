//! How many connections there may be.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use http::{HeaderMap, StatusCode, Version};
use tidings::{Limits, Principal};

use crate::problem::Problem;

/// Whether the peer at an address is a reverse proxy whose `X-Forwarded-For` is believed.
pub type Trusts = dyn Fn(IpAddr) -> bool + Send + Sync;

/// Counts connections, and refuses those above the bounds of [`Limits`].
///
/// A client is counted by its address: by its sockets, and by its streams where they share a socket with others, over HTTP/2 or
/// through a trusted proxy. The proxy itself is no client.
pub struct Limiter {
    counts: Mutex<Counts>,
    trusts: Box<Trusts>,
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
    /// Whether it is a socket, and not a stream alone.
    socket: bool,
    address: Option<IpAddr>,
    principal: Option<Who>,
}

impl Limiter {
    /// With the bounds of `limits`, and no proxy before it.
    pub fn new(limits: &Limits) -> Arc<Self> {
        Limiter::behind(limits, Box::new(|_| false))
    }

    /// With the bounds of `limits`, behind the proxies that `trusts` knows.
    pub fn behind(limits: &Limits, trusts: Box<Trusts>) -> Arc<Self> {
        Arc::new(Limiter {
            counts: Mutex::default(),
            trusts,
            max: limits.connections,
            max_per_address: limits.connections_per_address,
            max_per_principal: limits.connections_per_principal,
            refused: AtomicU64::new(0),
        })
    }

    /// Counts a socket that was accepted from `address`; `None` if there are too many, and it has to be closed unanswered:
    /// whoever floods gets no work out of us.
    pub fn accept(self: &Arc<Self>, address: IpAddr) -> Option<Permit> {
        let address = Some(address.to_canonical()).filter(|address| !(self.trusts)(*address)).map(household);
        let mut counts = self.counts();
        if counts.all >= self.max || address.is_some_and(|address| counts.of(address) >= self.max_per_address) {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        counts.all += 1;
        if let Some(address) = address {
            *counts.addresses.entry(address).or_default() += 1;
        }
        Some(Permit { limiter: self.clone(), socket: true, address, principal: None })
    }

    /// Counts a stream of `principal`, and of `address` if its socket does not count for it already: see
    /// [`shared`](Self::shared). Strangers are counted by their address alone.
    pub fn stream(self: &Arc<Self>, principal: &Principal, address: Option<IpAddr>) -> Result<Permit, Problem> {
        let address = address.map(household);
        let principal = (principal.source != "anonymous").then(|| (principal.namespace.clone(), principal.id.clone()));
        let mut counts = self.counts();
        if let Some(principal) = &principal
            && let Some(count) = counts.principals.get(principal).filter(|count| **count >= self.max_per_principal)
        {
            return Err(
                self.too_many(format!("this principal already has {count} streams open, which is the most allowed"))
            );
        }
        if let Some(address) = address
            && let Some(count) = counts.addresses.get(&address).filter(|count| **count >= self.max_per_address)
        {
            return Err(
                self.too_many(format!("your address already has {count} streams open, which is the most allowed"))
            );
        }
        if let Some(principal) = &principal {
            *counts.principals.entry(principal.clone()).or_default() += 1;
        }
        if let Some(address) = address {
            *counts.addresses.entry(address).or_default() += 1;
        }
        Ok(Permit { limiter: self.clone(), socket: false, address, principal })
    }

    /// A permit that counts nothing.
    pub(crate) fn nothing(self: &Arc<Self>) -> Permit {
        Permit { limiter: self.clone(), socket: false, address: None, principal: None }
    }

    fn too_many(&self, detail: String) -> Problem {
        self.refused.fetch_add(1, Ordering::Relaxed);
        Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-many-streams", detail).header(http::header::RETRY_AFTER, "30")
    }

    /// The client's address, for a stream whose socket is not the client's own: over HTTP/2 it carries many streams, and behind a
    /// trusted proxy it is the proxy's. There the address is the last of `X-Forwarded-For` that is no trusted proxy; what stands
    /// before that one, the client itself may have written.
    pub fn shared(&self, peer: IpAddr, version: Version, headers: &HeaderMap) -> Option<IpAddr> {
        let peer = peer.to_canonical();
        if !(self.trusts)(peer) {
            return (version >= Version::HTTP_2).then_some(peer);
        }
        let forwarded = headers.get_all("x-forwarded-for").into_iter().rev().filter_map(|value| value.to_str().ok());
        let mut hops = forwarded.flat_map(|value| value.rsplit(',')).map(address);
        hops.find(|hop| hop.is_none_or(|hop| !(self.trusts)(hop))).flatten()
    }

    /// The client's address, as far as it is known: the proxy's where that does not say whose it is.
    pub fn address(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        self.shared(peer, Version::HTTP_2, headers).unwrap_or(peer)
    }

    /// Whether the client came over TLS, as far as a trusted proxy says.
    pub fn is_secure(&self, peer: IpAddr, headers: &HeaderMap) -> bool {
        let proto = headers.get("x-forwarded-proto").and_then(|proto| proto.to_str().ok()).unwrap_or_default();
        (self.trusts)(peer.to_canonical()) && proto.split(',').next_back().is_some_and(|last| last.trim() == "https")
    }

    fn counts(&self) -> std::sync::MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// How many connections there are.
    pub fn open(&self) -> usize {
        self.counts().all
    }
}

impl std::fmt::Debug for Limiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Limiter").field("open", &self.open()).finish_non_exhaustive()
    }
}

impl Counts {
    fn of(&self, address: IpAddr) -> usize {
        self.addresses.get(&address).copied().unwrap_or(0)
    }
}

/// Whom an address stands for: of IPv6 its first 64 bits, as whoever is given addresses is given at least so many (RFC 6177) and could
/// come from a new one each time.
pub(crate) fn household(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            std::net::Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

/// One hop of `X-Forwarded-For`: an address, with a port as some proxies write it.
fn address(hop: &str) -> Option<IpAddr> {
    let hop = hop.trim();
    let address = hop.parse::<IpAddr>().ok().or_else(|| hop.parse::<SocketAddr>().ok().map(|hop| hop.ip()));
    let bare = || hop.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    address.or_else(bare).map(|address| address.to_canonical())
}

impl Permit {
    /// One that counts nothing.
    pub(crate) fn none_of_same(&self) -> Permit {
        self.limiter.nothing()
    }

    /// Counts its principal no more.
    pub(crate) fn release_principal(&mut self) {
        let Some(principal) = self.principal.take() else { return };
        lower(&mut self.limiter.counts().principals, &principal);
    }

    /// Both in one, for a stream that owns its socket. From here on it counts the stream's principal.
    pub fn join(mut self, mut stream: Permit) -> Permit {
        // Whom it counted before is given back with the other.
        std::mem::swap(&mut self.principal, &mut stream.principal);
        if self.address.is_none() {
            self.address = stream.address.take();
        }
        self
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.socket && self.address.is_none() && self.principal.is_none() {
            return;
        }
        let mut counts = self.limiter.counts();
        counts.all -= usize::from(self.socket);
        if let Some(address) = self.address {
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

#[cfg(test)]
mod tests {
    use super::*;
    use tidings::Grants;

    fn behind_a_proxy() -> Arc<Limiter> {
        let limits = Limits { connections_per_address: 2, ..Limits::default() };
        Limiter::behind(&limits, Box::new(|address| matches!(address.to_string().as_str(), "10.0.0.1" | "10.0.0.2")))
    }

    fn shared(peer: &str, version: Version, forwarded: &[&str]) -> Option<String> {
        let headers = forwarded.iter().map(|value| ("x-forwarded-for".parse().unwrap(), value.parse().unwrap()));
        let address = behind_a_proxy().shared(peer.parse().unwrap(), version, &headers.collect());
        address.map(|address| address.to_string())
    }

    #[test]
    fn the_last_hop_that_is_no_proxy_is_the_client() {
        let of = |forwarded: &[&str]| shared("10.0.0.1", Version::HTTP_11, forwarded);
        assert_eq!(of(&["203.0.113.7"]).as_deref(), Some("203.0.113.7"));
        assert_eq!(of(&["203.0.113.7, 10.0.0.2"]).as_deref(), Some("203.0.113.7"), "two proxies in a row");
        assert_eq!(of(&["198.51.100.1, 203.0.113.7"]).as_deref(), Some("203.0.113.7"), "the client wrote the first");
        assert_eq!(of(&["198.51.100.1", "203.0.113.7:4711,10.0.0.2"]).as_deref(), Some("203.0.113.7"));
        assert_eq!(of(&["[2001:db8::1]:80"]).as_deref(), Some("2001:db8::1"));
        assert_eq!(of(&["[2001:db8::1]"]).as_deref(), Some("2001:db8::1"));
        assert_eq!(of(&["::ffff:203.0.113.7"]).as_deref(), Some("203.0.113.7"));
        for nobody in [&[][..], &[""], &["unknown"], &["198.51.100.1, unknown"], &["10.0.0.2"], &[",,,"]] {
            assert_eq!(of(nobody), None, "{nobody:?}");
        }
    }

    #[test]
    fn a_peer_that_is_no_proxy_is_who_it_is_whatever_it_writes() {
        assert_eq!(shared("192.0.2.1", Version::HTTP_11, &["203.0.113.7"]), None, "its socket counts");
        assert_eq!(shared("192.0.2.1", Version::HTTP_2, &["203.0.113.7"]).as_deref(), Some("192.0.2.1"));
    }

    #[test]
    fn one_network_of_ipv6_is_one_client() {
        let limiter = Limiter::new(&Limits { connections_per_address: 2, ..Limits::default() });
        let from = |address: &str| limiter.accept(address.parse().unwrap());
        let _two = [from("2001:db8:1:2::1").unwrap(), from("2001:db8:1:2:ffff::9").unwrap()];
        assert!(from("2001:db8:1:2::3").is_none());
        assert!(from("2001:db8:1:3::3").is_some());
        // An IPv4 address in IPv6 clothes is itself.
        assert!(from("::ffff:192.0.2.1").is_some() && from("::ffff:192.0.2.2").is_some());
    }

    #[test]
    fn a_user_of_one_profile_takes_no_streams_of_the_same_id_in_another() {
        let limiter = Limiter::new(&Limits { connections_per_principal: 1, ..Limits::default() });
        let u1 = |namespace: &str| Principal {
            namespace: Some(namespace.into()),
            ..Principal::new("u1", Grants::default(), "jwt")
        };
        let _first = limiter.stream(&u1("a"), None).unwrap();
        assert!(limiter.stream(&u1("a"), None).is_err());
        assert!(limiter.stream(&u1("b"), None).is_ok());
    }

    #[test]
    fn behind_a_proxy_clients_are_counted_and_the_proxy_is_not() {
        let limiter = behind_a_proxy();
        let proxy: IpAddr = "10.0.0.1".parse().unwrap();
        let sockets: Vec<Permit> = (0..10).map(|_| limiter.accept(proxy).unwrap()).collect();
        let nobody = Principal::new("anonymous", Grants::default(), "anonymous");
        let client = Some("203.0.113.7".parse().unwrap());
        let mut sockets = sockets.into_iter();
        let first = sockets.next().unwrap().join(limiter.stream(&nobody, client).unwrap());
        let second = limiter.stream(&nobody, client).unwrap();
        let problem = limiter.stream(&nobody, client).unwrap_err();
        assert_eq!(problem.status, StatusCode::TOO_MANY_REQUESTS);
        limiter.stream(&nobody, Some("203.0.113.8".parse().unwrap())).unwrap();
        drop(first);
        let third = limiter.stream(&nobody, client).unwrap();
        drop((second, third, sockets));
        assert_eq!(limiter.open(), 0);
        assert!(limiter.counts().addresses.is_empty() && limiter.counts().principals.is_empty());
    }
}
