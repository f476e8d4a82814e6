//! Signed tokens as a source: which claims must hold, and who they stand for (RFC 7519).

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tidings::{Clock, Principal, Timestamp};
use tidings_transports::{Problem, Request};

use super::cache::Cache;
use super::identity::Identity;
use super::jwks::{Jwks, Unavailable};
use super::jws::{Algorithm, Flaw, Key, Material, Token, key_set};
use super::pem;
use super::place::{Found, Places};
use super::secret::{SecretFrom, read_file};
use super::settings::JwtSettings;
use super::source::{Verdict, expired, invalid, unclear};
use super::words::{Draft, Words};
use super::{AuthContext, AuthError};

/// The most checked tokens that are remembered: checking an RSA or EC signature costs 26 to 84 µs, a look-up 0.1.
const REMEMBERED: usize = 16_384;

/// The shortest secret. RFC 7518 §3.2 asks for 32 bytes for HS256, but the secret is the app's to choose; under 16 it
/// can be guessed from one token.
const MIN_SECRET: usize = 16;

/// Signed tokens as a source.
pub struct Jwt {
    places: Places,
    keys: Keys,
    algorithms: Vec<Algorithm>,
    claims: Claims,
    identity: Identity,
    words: Arc<Words>,
    clock: Arc<dyn Clock>,
    known: Cache<[u8; 32], Arc<Principal>>,
}

enum Keys {
    Fixed(Vec<Key>),
    Fetched(Box<Jwks>),
}

impl Jwt {
    /// Checks the settings that stand at `path`.
    pub fn new(
        settings: &JwtSettings,
        path: &str,
        context: &AuthContext,
        words: &Arc<Words>,
    ) -> Result<Self, AuthError> {
        let places = Places::new(&settings.places, path)?;
        if places.is_empty() {
            return Err(AuthError::new(format!("{path}.in"), "it needs a place to look for the token"));
        }
        let keys = Keys::new(settings, path, context)?;
        let named = settings.algorithms.iter().enumerate().map(|(index, name)| {
            Algorithm::named(name).ok_or_else(|| {
                let known: Vec<_> = Algorithm::ALL.iter().map(|(name, _)| *name).collect();
                AuthError::new(
                    format!("{path}.algorithms[{index}]"),
                    format!("{name:?} is not one of {}", known.join(", ")),
                )
            })
        });
        let algorithms: Vec<Algorithm> = named.collect::<Result<_, _>>()?;
        if let Keys::Fixed(keys) = &keys
            && let Some(index) = algorithms.iter().position(|a| !keys.iter().any(|key| key.material.fits(*a)))
        {
            let message = format!("{} does not fit the key", settings.algorithms[index]);
            return Err(AuthError::new(format!("{path}.algorithms[{index}]"), message));
        }
        Ok(Jwt {
            places,
            keys,
            algorithms,
            claims: Claims {
                audience: settings.audience.clone(),
                issuer: settings.issuer.clone(),
                leeway: settings.leeway,
                expiry_leeway: settings.expiry_leeway,
                expiry_required: settings.expiry_required,
            },
            identity: Identity::new(
                &settings.principal,
                &["claims"],
                path,
                &["{claims.sub}"],
                &["{claims.jti}", "{claims.sid}"],
            )?,
            words: words.clone(),
            clock: context.clock.clone(),
            known: Cache::new(REMEMBERED),
        })
    }

    /// Whose token is in the request.
    pub async fn check(&self, request: &Request<'_>) -> Verdict {
        let token = match self.places.find(request) {
            Found::Absent => return Verdict::Absent,
            Found::Unclear(why) => return Verdict::Refused(unclear(why)),
            Found::One(token) => token,
        };
        let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        // One that has expired meanwhile is refused by whoever asks; it stays here until it is pushed out.
        if let Some(principal) = self.known.get(&hash) {
            return Verdict::Accepted(principal);
        }
        let claims = match self.verify(&token).await {
            Ok(claims) => claims,
            Err(NotVerified::Flaw(flaw)) => return Verdict::Refused(invalid(flaw.to_string())),
            Err(NotVerified::Unavailable) => {
                return Verdict::Unknown(Problem::unavailable(
                    2,
                    "keys-unavailable",
                    "the keys to check the token with can't be fetched at the moment",
                ));
            }
        };
        let (expires_at, issued_at) = match self.claims.check(&claims, self.clock.now()) {
            Ok(times) => times,
            Err(problem) => return Verdict::Refused(*problem),
        };
        let Some(draft) = self.identity.draft(&json!({ "claims": claims })) else {
            return Verdict::Refused(invalid("the token does not say who it is for"));
        };
        let principal = Arc::new(self.words.principal(Draft { expires_at, issued_at, ..draft }, "jwt"));
        self.known.insert(hash, principal.clone());
        Verdict::Accepted(principal)
    }

    async fn verify(&self, token: &str) -> Result<Value, NotVerified> {
        let token = Token::parse(token).map_err(NotVerified::Flaw)?;
        match &self.keys {
            Keys::Fixed(keys) => token.verify(keys, &self.algorithms).map_err(NotVerified::Flaw),
            Keys::Fetched(jwks) => {
                let keys = jwks.keys().await.map_err(|Unavailable| NotVerified::Unavailable)?;
                match token.verify(&keys, &self.algorithms) {
                    Err(Flaw::UnknownKey) => {
                        let keys = jwks.newer_than(&keys).await.map_err(|Unavailable| NotVerified::Unavailable)?;
                        token.verify(&keys, &self.algorithms)
                    }
                    verified => verified,
                }
                .map_err(NotVerified::Flaw)
            }
        }
    }
}

enum NotVerified {
    Flaw(Flaw),
    Unavailable,
}

impl Keys {
    fn new(settings: &JwtSettings, path: &str, context: &AuthContext) -> Result<Self, AuthError> {
        let secret = SecretFrom {
            value: settings.secret.as_ref(),
            file: settings.secret_file.as_ref(),
            env: settings.secret_env.as_ref(),
        }
        .read(&context.base, &format!("{path}.secret"))?;
        let pem = match (&settings.public_key, &settings.public_key_file) {
            (Some(pem), None) => Some((pem.clone(), "public_key")),
            (None, Some(file)) => {
                Some((read_file(&context.base, file, &format!("{path}.public_key_file"))?, "public_key_file"))
            }
            (None, None) => None,
            (Some(_), Some(_)) => {
                return Err(AuthError::new(format!("{path}.public_key"), "it is said in more than one way; keep one"));
            }
        };
        let any = |material| Keys::Fixed(vec![Key { id: None, algorithm: None, material }]);
        match (secret, pem, &settings.jwks_url, &settings.jwks_file) {
            (Some(secret), None, None, None) => {
                let bytes = secret.expose().as_bytes();
                if bytes.len() < MIN_SECRET {
                    let message = format!("it has {} bytes; at least {MIN_SECRET} are needed", bytes.len());
                    return Err(AuthError::new(format!("{path}.secret"), message));
                }
                Ok(any(Material::secret(bytes)))
            }
            (None, Some((pem, name)), None, None) => {
                Ok(any(pem::public_key(&pem).map_err(|why| AuthError::new(format!("{path}.{name}"), why))?))
            }
            (None, None, Some(url), None) => Ok(Keys::Fetched(Box::new(Jwks::new(settings, url, path, context)?))),
            (None, None, None, Some(file)) => {
                let path = format!("{path}.jwks_file");
                let text = read_file(&context.base, file, &path)?;
                Ok(Keys::Fixed(key_set(text.as_bytes()).map_err(|why| AuthError::new(path, why))?))
            }
            (None, None, None, None) => {
                Err(AuthError::new(path, "it needs a key: one of secret, public_key, jwks_url and jwks_file"))
            }
            _ => Err(AuthError::new(
                path,
                "it has more than one key; keep one of secret, public_key, jwks_url and jwks_file",
            )),
        }
    }
}

/// What must hold of the claims.
#[derive(Clone, Debug)]
pub struct Claims {
    audience: Vec<String>,
    issuer: Vec<String>,
    leeway: Duration,
    expiry_leeway: Duration,
    expiry_required: bool,
}

type Times = (Option<Timestamp>, Option<Timestamp>);

impl Claims {
    /// When the token ends and when it was made, if everything holds.
    fn check(&self, claims: &Value, now: Timestamp) -> Result<Times, Box<Problem>> {
        let wrong = |detail: &str| Err(Box::new(invalid(detail)));
        let [Ok(expires_at), Ok(not_before), Ok(issued_at)] = ["exp", "nbf", "iat"].map(|name| date(claims, name))
        else {
            return wrong("the token has a date that is no number");
        };
        let expires_at = expires_at.map(|at| at.after(self.expiry_leeway));
        match expires_at {
            Some(at) if at <= now => return Err(Box::new(expired())),
            None if self.expiry_required => return wrong("the token has no expiry"),
            _ => {}
        }
        if not_before.is_some_and(|at| at > now.after(self.leeway)) {
            return wrong("the token is not valid yet");
        }
        if !self.issuer.is_empty() && !strings(claims, "iss").iter().any(|issuer| self.issuer.contains(issuer)) {
            return wrong("the token was made by somebody else");
        }
        let audience = strings(claims, "aud");
        let meant = match self.audience.as_slice() {
            [] => claims.get("aud").is_none_or(Value::is_null),
            any if any.iter().any(|a| a == "*") => true,
            ours => audience.iter().any(|theirs| ours.contains(theirs)),
        };
        if !meant {
            return wrong("the token was made for somebody else");
        }
        // A date in the future must not outlast a later revocation.
        Ok((expires_at, issued_at.map(|at| at.min(now))))
    }
}

/// A NumericDate (RFC 7519 §2): seconds, which may have a fraction. What is there and no number is an error, not absent.
fn date(claims: &Value, name: &str) -> Result<Option<Timestamp>, ()> {
    match claims.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => {
            let seconds = value.as_f64().filter(|seconds| seconds.is_finite()).ok_or(())?;
            // Saturates: before 1970 is 1970, and later than all time is the end of it.
            Ok(Some(Timestamp((seconds * 1000.0) as u64)))
        }
    }
}

fn strings(claims: &Value, name: &str) -> Vec<String> {
    match claims.get(name) {
        Some(Value::String(text)) => vec![text.clone()],
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}
