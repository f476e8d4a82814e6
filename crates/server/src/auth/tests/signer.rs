//! Makes tokens, right and wrong.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD as B64};
use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair};
use serde_json::{Value, json};

pub const SECRET: &str = "a secret of at least sixteen bytes";
pub const RSA_PUBLIC: &str = include_str!("rsa.pub.pem");

pub enum Signer {
    Hmac(Vec<u8>),
    Rsa(Box<RsaKeyPair>),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

impl Signer {
    pub fn hmac() -> Self {
        Signer::Hmac(SECRET.into())
    }

    pub fn rsa() -> Self {
        Signer::Rsa(Box::new(RsaKeyPair::from_pkcs8(include_bytes!("rsa.pkcs8")).unwrap()))
    }

    pub fn ec(algorithm: &str) -> Self {
        let algorithm = match algorithm {
            "ES256" => &signature::ECDSA_P256_SHA256_FIXED_SIGNING,
            _ => &signature::ECDSA_P384_SHA384_FIXED_SIGNING,
        };
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        Signer::Ec(EcdsaKeyPair::from_pkcs8(algorithm, key.as_ref(), &random).unwrap())
    }

    pub fn ed() -> Self {
        let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Signer::Ed(Ed25519KeyPair::from_pkcs8(key.as_ref()).unwrap())
    }

    /// The signature of this algorithm over any bytes.
    fn sign(&self, algorithm: &str, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Signer::Hmac(secret) => {
                let algorithm = match algorithm {
                    "HS384" => ring::hmac::HMAC_SHA384,
                    "HS512" => ring::hmac::HMAC_SHA512,
                    _ => ring::hmac::HMAC_SHA256,
                };
                ring::hmac::sign(&ring::hmac::Key::new(algorithm, secret), message).as_ref().to_vec()
            }
            Signer::Rsa(key) => {
                let padding: &'static dyn signature::RsaEncoding = match algorithm {
                    "RS384" => &signature::RSA_PKCS1_SHA384,
                    "RS512" => &signature::RSA_PKCS1_SHA512,
                    "PS256" => &signature::RSA_PSS_SHA256,
                    _ => &signature::RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(padding, &random, message, &mut signature).unwrap();
                signature
            }
            Signer::Ec(key) => key.sign(&random, message).unwrap().as_ref().to_vec(),
            Signer::Ed(key) => key.sign(message).as_ref().to_vec(),
        }
    }

    /// A token with this header and these claims.
    pub fn token(&self, header: Value, claims: Value) -> String {
        let message = format!("{}.{}", B64.encode(header.to_string()), B64.encode(claims.to_string()));
        let signature = self.sign(header["alg"].as_str().unwrap_or_default(), message.as_bytes());
        format!("{message}.{}", B64.encode(signature))
    }

    /// The public key as a member of a key set.
    pub fn jwk(&self, id: &str) -> Value {
        match self {
            Signer::Hmac(secret) => json!({"kty": "oct", "k": B64.encode(secret), "kid": id}),
            Signer::Rsa(key) => {
                let public: signature::RsaPublicKeyComponents<Vec<u8>> = key.public().into();
                json!({"kty": "RSA", "n": B64.encode(public.n), "e": B64.encode(public.e), "kid": id, "use": "sig"})
            }
            Signer::Ec(key) => {
                let point = &key.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                let curve = if x.len() == 32 { "P-256" } else { "P-384" };
                json!({"kty": "EC", "crv": curve, "x": B64.encode(x), "y": B64.encode(y), "kid": id})
            }
            Signer::Ed(key) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": B64.encode(key.public_key()), "kid": id})
            }
        }
    }

    /// The public key as PEM.
    pub fn pem(&self) -> String {
        let (prefix, key): (&[u8], Vec<u8>) = match self {
            Signer::Rsa(_) => return RSA_PUBLIC.into(),
            Signer::Hmac(_) => unreachable!("a secret has no PEM"),
            Signer::Ec(key) if key.public_key().as_ref().len() == 65 => {
                (b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00",
                    key.public_key().as_ref().to_vec())
            }
            Signer::Ec(key) => {
                (b"\x30\x76\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22\x03\x62\x00",
                    key.public_key().as_ref().to_vec())
            }
            Signer::Ed(key) => {
                (b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00", key.public_key().as_ref().to_vec())
            }
        };
        let der = [prefix, &key].concat();
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der))
    }
}
