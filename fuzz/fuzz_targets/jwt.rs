//! A token from anybody: it is taken apart and checked without a panic, and never accepted, as nobody here signs.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidings_server::auth::jws::{Key, Material, Token, key_set};
use tidings_server::auth::pem;

fuzz_target!(|bytes: &[u8]| {
    let _ = key_set(bytes);
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = pem::public_key(text);
    let Ok(token) = Token::parse(text) else { return };
    let materials = [
        Some(Material::secret(b"a secret that the fuzzer does not know: 7f3a")),
        Material::rsa(&[0xc5; 256], &[1, 0, 1]),
        Material::p256([[4].as_slice(), &[7; 64]].concat()),
        Material::ed25519(vec![9; 32]),
    ];
    let keys: Vec<Key> =
        materials.into_iter().flatten().map(|material| Key { id: None, algorithm: None, material }).collect();
    assert!(token.verify(&keys, &[]).is_err());
});
