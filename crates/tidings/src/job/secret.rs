//! What workers and watchers show.

use sha2::{Digest, Sha256};

use super::fault::JobFault;
use super::record::JobId;

/// What the token of a job begins with.
pub const TOKEN_PREFIX: &str = "tdj_";
/// What a lease begins with.
pub const LEASE_PREFIX: &str = "tdl_";

/// A new secret, and its hash, which is all that is kept of it.
pub(super) fn new(prefix: &str) -> Result<(String, [u8; 32]), JobFault> {
    let random: [u8; 32] = random()?;
    let hex: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let secret = format!("{prefix}{hex}");
    let hash = hash(&secret);
    Ok((secret, hash))
}

pub(super) fn hash(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

/// A name that nobody can guess: a UUID of random bits (RFC 9562 §5.4).
pub(super) fn new_id() -> Result<JobId, JobFault> {
    let mut bytes: [u8; 16] = random()?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let id = format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]);
    id.parse().map_err(|_| JobFault::Unavailable("no id can be made".into()))
}

fn random<const N: usize>() -> Result<[u8; N], JobFault> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| JobFault::Unavailable("the system gives no random numbers".into()))?;
    Ok(bytes)
}
