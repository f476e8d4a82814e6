//! Public keys in PEM (RFC 7468): as much of DER as they need.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::jws::Material;

/// Reads an RSA, EC or Ed25519 public key; the error is a sentence.
pub fn public_key(pem: &str) -> Result<Material, String> {
    let begin = pem.find("-----BEGIN ").ok_or("it is not PEM: it has no -----BEGIN line")?;
    let (label, rest) = pem[begin + 11..].split_once("-----").ok_or("its -----BEGIN line does not end")?;
    let end = rest.find("-----END").ok_or("it has no -----END line")?;
    let text: String = rest[..end].split_ascii_whitespace().collect();
    let der = STANDARD.decode(text).map_err(|_| "its body is not base64".to_owned())?;
    match label {
        "PUBLIC KEY" => subject_public_key_info(&der).ok_or_else(unsupported),
        "RSA PUBLIC KEY" => rsa(&der).ok_or_else(unsupported),
        "PRIVATE KEY" | "RSA PRIVATE KEY" | "EC PRIVATE KEY" => {
            Err("it is a private key, which only the one who signs may have; give the public key".into())
        }
        "CERTIFICATE" => {
            Err("it is a certificate; take its key with `openssl x509 -pubkey -noout -in <certificate>`".into())
        }
        label => Err(format!("{label:?} is not a public key")),
    }
}

fn unsupported() -> String {
    "it is not an RSA, EC (P-256, P-384) or Ed25519 key that can be read".into()
}

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OBJECT: u8 = 0x06;

const RSA_ENCRYPTION: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];

/// SubjectPublicKeyInfo (RFC 5280 §4.1).
fn subject_public_key_info(der: &[u8]) -> Option<Material> {
    let (mut info, []) = take(der, SEQUENCE)? else { return None };
    let (algorithm, rest) = take(info, SEQUENCE)?;
    info = rest;
    let (kind, parameters) = take(algorithm, OBJECT)?;
    let (bits, []) = take(info, BIT_STRING)? else { return None };
    let (0, key) = bits.split_first()? else { return None };
    match kind {
        RSA_ENCRYPTION => rsa(key),
        EC_PUBLIC_KEY => match take(parameters, OBJECT)?.0 {
            P256 => Material::p256(key.to_vec()),
            P384 => Material::p384(key.to_vec()),
            _ => None,
        },
        ED25519 => Material::ed25519(key.to_vec()),
        _ => None,
    }
}

/// RSAPublicKey (RFC 8017 A.1.1).
fn rsa(der: &[u8]) -> Option<Material> {
    let (key, []) = take(der, SEQUENCE)? else { return None };
    let (n, rest) = take(key, INTEGER)?;
    let (e, []) = take(rest, INTEGER)? else { return None };
    Material::rsa(n, e)
}

/// The content of the element that `der` begins with, if it has this tag, and what follows it.
fn take(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&given, rest) = der.split_first()?;
    let (&length, mut rest) = rest.split_first()?;
    let length = if length < 0x80 {
        usize::from(length)
    } else {
        let bytes = usize::from(length & 0x7f);
        if bytes == 0 || bytes > 3 {
            return None;
        }
        let (length, after) = rest.split_at_checked(bytes)?;
        rest = after;
        length.iter().fold(0, |sum, byte| (sum << 8) | usize::from(*byte))
    };
    let (content, after) = rest.split_at_checked(length)?;
    (given == tag).then_some((content, after))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_not_a_public_key_is_refused_with_a_sentence() {
        for pem in [
            "",
            "-----BEGIN PUBLIC KEY-----",
            "-----BEGIN PUBLIC KEY-----\n!!\n-----END PUBLIC KEY-----",
            "-----BEGIN PUBLIC KEY-----\nMAA=\n-----END PUBLIC KEY-----",
            "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----",
            "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----",
        ] {
            assert!(public_key(pem).is_err(), "{pem}");
        }
    }

    proptest! {
        #[test]
        fn no_der_panics(der in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = subject_public_key_info(&der);
            let _ = rsa(&der);
        }
    }
}
