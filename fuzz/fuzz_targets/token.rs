//! Anything as an API key's token, taken apart and looked up.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tidings::Timestamp;
use tidings_brokers::Store;
use tidings_brokers::store::NewKey;
use tidings_brokers::store::key::split_token;

static STORE: LazyLock<(Store, String)> = LazyLock::new(|| {
    let store = Store::in_memory().expect("a database in memory");
    let (_, token) = store.create_key(NewKey::named("a"), Timestamp(1)).expect("a key");
    (store, token)
});

fuzz_target!(|text: &str| {
    let (store, token) = &*STORE;
    let Some((id, secret)) = split_token(text) else { return };
    assert_eq!(format!("tdg_{id}_{secret}"), text);
    assert!(store.verify(text, Timestamp(2)).expect("the database answers").is_none());
    // The right id with another secret.
    let (known, right) = split_token(token).expect("a token that was made");
    if secret != right {
        let forged = format!("tdg_{known}_{secret}");
        assert!(store.verify(&forged, Timestamp(2)).expect("the database answers").is_none());
    }
});
