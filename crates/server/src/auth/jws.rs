//! Signed tokens: their three parts, and whether the signature is right (RFC 7515, RFC 8725).

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::{hmac, signature};
use serde::Deserialize;
use serde_json::Value;

/// The most bytes of a token. An identity provider's largest are a few KiB; a request head is bounded by 32 KiB.
pub const MAX_TOKEN: usize = 16 << 10;

/// The most keys that are tried for a token that names none.
const MAX_TRIED: usize = 16;

/// The most keys that are taken from a key set.
const MAX_KEYS: usize = 64;

/// A signature algorithm (RFC 7518 §3.1, RFC 8037). There is no `none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Algorithm {
    Hs256,
    Hs384,
    Hs512,
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
}

impl Algorithm {
    /// All of them, by name.
    pub const ALL: [(&'static str, Algorithm); 12] = [
        ("HS256", Algorithm::Hs256),
        ("HS384", Algorithm::Hs384),
        ("HS512", Algorithm::Hs512),
        ("RS256", Algorithm::Rs256),
        ("RS384", Algorithm::Rs384),
        ("RS512", Algorithm::Rs512),
        ("PS256", Algorithm::Ps256),
        ("PS384", Algorithm::Ps384),
        ("PS512", Algorithm::Ps512),
        ("ES256", Algorithm::Es256),
        ("ES384", Algorithm::Es384),
        ("EdDSA", Algorithm::EdDsa),
    ];

    /// The algorithm of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, algorithm)| *algorithm)
    }
}

/// A key that signatures are checked with, and what it may be used for.
#[derive(Clone, Debug)]
pub struct Key {
    /// Its name in a key set. A key without one fits every token.
    pub id: Option<String>,
    /// The one algorithm it is for, if it says so.
    pub algorithm: Option<Algorithm>,
    /// The key.
    pub material: Material,
}

/// The bytes of a key. Which algorithms it can check follows from its kind alone, never from the token: a public RSA
/// key is no HMAC secret, whatever the token's header says.
#[derive(Clone)]
pub struct Material(Bytes);

#[derive(Clone)]
enum Bytes {
    Secret(Vec<u8>),
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())
    }
}

impl Material {
    /// A secret that both sides know.
    pub fn secret(bytes: &[u8]) -> Self {
        Material(Bytes::Secret(bytes.to_vec()))
    }

    /// An RSA key of 2048 to 8192 bits, from its modulus and exponent.
    pub fn rsa(n: &[u8], e: &[u8]) -> Option<Self> {
        let [n, e] = [n, e].map(|number| {
            let zeros = number.iter().take_while(|byte| **byte == 0).count();
            number[zeros..].to_vec()
        });
        ((256..=1024).contains(&n.len()) && (1..=8).contains(&e.len())).then_some(Material(Bytes::Rsa { n, e }))
    }

    /// An uncompressed point on P-256.
    pub fn p256(point: Vec<u8>) -> Option<Self> {
        (point.len() == 65 && point[0] == 4).then_some(Material(Bytes::P256(point)))
    }

    /// An uncompressed point on P-384.
    pub fn p384(point: Vec<u8>) -> Option<Self> {
        (point.len() == 97 && point[0] == 4).then_some(Material(Bytes::P384(point)))
    }

    /// An Ed25519 key.
    pub fn ed25519(key: Vec<u8>) -> Option<Self> {
        (key.len() == 32).then_some(Material(Bytes::Ed25519(key)))
    }

    /// What kind of key it is, for people.
    pub fn kind(&self) -> &'static str {
        match self.0 {
            Bytes::Secret(_) => "secret",
            Bytes::Rsa { .. } => "RSA",
            Bytes::P256(_) => "P-256",
            Bytes::P384(_) => "P-384",
            Bytes::Ed25519(_) => "Ed25519",
        }
    }

    /// Whether it can check this algorithm.
    pub fn fits(&self, algorithm: Algorithm) -> bool {
        use Algorithm::*;
        match self.0 {
            Bytes::Secret(_) => matches!(algorithm, Hs256 | Hs384 | Hs512),
            Bytes::Rsa { .. } => matches!(algorithm, Rs256 | Rs384 | Rs512 | Ps256 | Ps384 | Ps512),
            Bytes::P256(_) => algorithm == Es256,
            Bytes::P384(_) => algorithm == Es384,
            Bytes::Ed25519(_) => algorithm == EdDsa,
        }
    }

    fn verify(&self, algorithm: Algorithm, message: &[u8], given: &[u8]) -> bool {
        use Algorithm::*;
        match (&self.0, algorithm) {
            (Bytes::Secret(secret), Hs256 | Hs384 | Hs512) => {
                let algorithm = match algorithm {
                    Hs256 => hmac::HMAC_SHA256,
                    Hs384 => hmac::HMAC_SHA384,
                    _ => hmac::HMAC_SHA512,
                };
                hmac::verify(&hmac::Key::new(algorithm, secret), message, given).is_ok()
            }
            (Bytes::Rsa { n, e }, _) => {
                let parameters = match algorithm {
                    Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
                    Rs384 => &signature::RSA_PKCS1_2048_8192_SHA384,
                    Rs512 => &signature::RSA_PKCS1_2048_8192_SHA512,
                    Ps256 => &signature::RSA_PSS_2048_8192_SHA256,
                    Ps384 => &signature::RSA_PSS_2048_8192_SHA384,
                    Ps512 => &signature::RSA_PSS_2048_8192_SHA512,
                    _ => return false,
                };
                signature::RsaPublicKeyComponents { n, e }.verify(parameters, message, given).is_ok()
            }
            (Bytes::P256(point), Es256) => verify(&signature::ECDSA_P256_SHA256_FIXED, point, message, given),
            (Bytes::P384(point), Es384) => verify(&signature::ECDSA_P384_SHA384_FIXED, point, message, given),
            (Bytes::Ed25519(key), EdDsa) => verify(&signature::ED25519, key, message, given),
            _ => false,
        }
    }
}

fn verify(algorithm: &'static dyn signature::VerificationAlgorithm, key: &[u8], message: &[u8], given: &[u8]) -> bool {
    signature::UnparsedPublicKey::new(algorithm, key).verify(message, given).is_ok()
}

/// Why a token is not one of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// It is longer than [`MAX_TOKEN`].
    #[error("the token is too long")]
    TooLong,
    /// It is not three parts of base64url with JSON in them.
    #[error("the token is malformed")]
    Malformed,
    /// It is signed in a way that is not allowed here.
    #[error("the token's algorithm is not accepted here")]
    Algorithm,
    /// It asks for an extension that must be understood (`crit`), and none is.
    #[error("the token needs an extension that is not understood here")]
    Critical,
    /// No key here is the one it names.
    #[error("the token is signed with a key that is not known here")]
    UnknownKey,
    /// Its signature is wrong.
    #[error("the token's signature is wrong")]
    Signature,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<Value>,
    #[serde(default)]
    b64: Option<Value>,
}

/// A token taken apart, not checked yet.
pub struct Token<'t> {
    algorithm: Algorithm,
    key_id: Option<String>,
    message: &'t str,
    payload: &'t str,
    signature: Vec<u8>,
}

impl<'t> Token<'t> {
    /// Takes a token apart.
    pub fn parse(token: &'t str) -> Result<Self, Flaw> {
        if token.len() > MAX_TOKEN {
            return Err(Flaw::TooLong);
        }
        let (message, signature) = token.rsplit_once('.').ok_or(Flaw::Malformed)?;
        let (header, payload) = message.split_once('.').ok_or(Flaw::Malformed)?;
        if payload.contains('.') {
            return Err(Flaw::Malformed);
        }
        let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| Flaw::Malformed)?;
        if header.crit.is_some() || header.b64.is_some() {
            return Err(Flaw::Critical);
        }
        let algorithm = Algorithm::named(&header.alg).ok_or(Flaw::Algorithm)?;
        Ok(Token { algorithm, key_id: header.kid, message, payload, signature: decode(signature)? })
    }

    /// The claims, if one of `keys` made the signature with one of `allowed` (empty: any that fits the key).
    pub fn verify(&self, keys: &[Key], allowed: &[Algorithm]) -> Result<Value, Flaw> {
        if !allowed.is_empty() && !allowed.contains(&self.algorithm) {
            return Err(Flaw::Algorithm);
        }
        let named = |key: &&Key| match (&key.id, &self.key_id) {
            (Some(ours), Some(theirs)) => ours == theirs,
            _ => true,
        };
        let fits = |key: &&Key| {
            key.material.fits(self.algorithm) && key.algorithm.is_none_or(|algorithm| algorithm == self.algorithm)
        };
        let mut named = keys.iter().filter(named).peekable();
        if named.peek().is_none() {
            return Err(Flaw::UnknownKey);
        }
        let mut fitting = named.filter(fits).take(MAX_TRIED).peekable();
        if fitting.peek().is_none() {
            return Err(Flaw::Algorithm);
        }
        if !fitting.any(|key| key.material.verify(self.algorithm, self.message.as_bytes(), &self.signature)) {
            return Err(Flaw::Signature);
        }
        let claims: Value = serde_json::from_slice(&decode(self.payload)?).map_err(|_| Flaw::Malformed)?;
        if claims.is_object() { Ok(claims) } else { Err(Flaw::Malformed) }
    }
}

fn decode(part: &str) -> Result<Vec<u8>, Flaw> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Flaw::Malformed)
}

/// Reads a key set (RFC 7517 §5). Keys for other uses or of unknown kinds are left out, as §5 asks; so are secrets,
/// which have no place in a public document.
pub fn key_set(text: &[u8]) -> Result<Vec<Key>, String> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<Value>,
    }
    let set: Set = serde_json::from_slice(text).map_err(|error| format!("it is not a key set: {error}"))?;
    let keys: Vec<Key> = set.keys.iter().filter_map(jwk).take(MAX_KEYS).collect();
    if keys.is_empty() {
        return Err("the key set has no key to check signatures with".into());
    }
    Ok(keys)
}

fn jwk(jwk: &Value) -> Option<Key> {
    let text = |name: &str| jwk.get(name).and_then(Value::as_str);
    let bytes = |name: &str| text(name).and_then(|text| URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok());
    if text("use").is_some_and(|usage| usage != "sig") {
        return None;
    }
    let algorithm = match text("alg") {
        Some(name) => Some(Algorithm::named(name)?),
        None => None,
    };
    let point = |size: usize| {
        let (x, y) = (bytes("x")?, bytes("y")?);
        (x.len() == size && y.len() == size).then(|| [vec![4], x, y].concat())
    };
    let material = match (text("kty")?, text("crv")) {
        ("RSA", _) => Material::rsa(&bytes("n")?, &bytes("e")?)?,
        ("EC", Some("P-256")) => Material::p256(point(32)?)?,
        ("EC", Some("P-384")) => Material::p384(point(48)?)?,
        ("OKP", Some("Ed25519")) => Material::ed25519(bytes("x")?)?,
        _ => return None,
    };
    Some(Key { id: text("kid").map(Into::into), algorithm, material })
}
