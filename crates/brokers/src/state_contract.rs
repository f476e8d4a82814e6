//! What every store of the state that replicas share must do, written once. Each implementation runs it.
//!
//! A claim is a function that takes two handles on one fresh, empty state, as two processes would have them, and panics when the claim
//! is false.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidings::{Cursor, Epoch, Offset, Timestamp};

use crate::state::{ANSWERS_KEPT, Answer, Claim, Claimed, Held, StateStore};
use crate::store::key::split_token;
use crate::store::{Key, NewKey, Revocation, Revoked};

/// Two processes that share one state.
pub type Pair = [Arc<dyn StateStore>; 2];

/// How long a change may take until another process sees it.
const SEEN_WITHIN: Duration = Duration::from_secs(1);

/// How long it is waited for that, as a machine may stand still for a while.
const PATIENCE: Duration = Duration::from_secs(60);

/// Every claim, each on a state that `fresh` makes.
pub async fn all<F: Future<Output = Pair>>(fresh: impl Fn() -> F) {
    a_token_finds_its_key_in_every_process_at_once(fresh().await).await;
    a_wrong_secret_a_foreign_token_and_an_unknown_id_find_nothing(fresh().await).await;
    a_deleted_key_is_gone_everywhere_and_once(fresh().await).await;
    keys_are_listed_in_the_order_of_their_making_with_their_last_use(fresh().await).await;
    a_ticket_works_once_and_only_in_its_time(fresh().await).await;
    of_many_who_come_with_one_ticket_one_gets_in(fresh().await).await;
    a_revocation_is_seen_everywhere_until_its_time(fresh().await).await;
    of_two_revocations_of_the_same_the_later_times_count(fresh().await).await;
    what_is_revoked_may_be_any_text_and_namespaces_keep_them_apart(fresh().await).await;
    whoever_waits_for_changes_is_woken_by_those_of_others(fresh().await).await;
    a_change_is_seen_in_another_process_within_a_second(fresh().await).await;
    a_retry_hears_the_first_answer_everywhere_for_a_day(fresh().await).await;
    a_request_is_claimed_once(fresh().await).await;
    a_claim_is_taken_over_once(fresh().await).await;
    a_claim_that_was_given_up_is_free(fresh().await).await;
    the_place_up_to_which_the_log_is_known_is_recorded(fresh().await).await;
    what_has_run_out_is_swept_and_nothing_else(fresh().await).await;
}

/// A key with all that a key can have.
pub fn rights() -> NewKey {
    NewKey {
        name: "the \"publisher\" of ümlauts".into(),
        grants: vec!["role/admin".into(), "library/*/read".into()],
        publish_topics: Some(vec!["library/*".into()]),
        publish_names: Some(vec![]),
        may_publish: true,
        operator: true,
        profile: Some("app".into()),
        expires_at: Some(Timestamp(100)),
    }
}

/// A revocation of a principal.
pub fn revocation(value: &str, namespace: Option<&str>, at: u64, until: u64) -> Revocation {
    let namespace = namespace.map(Into::into);
    Revocation { kind: Revoked::Principal, value: value.into(), namespace, at: Timestamp(at), until: Timestamp(until) }
}

/// A claim of a process.
pub fn claim(by: u64, at: u64) -> Claim {
    Claim { body: [3; 32], after: Cursor { epoch: Epoch(7), offset: Offset(5) }, by, at: Timestamp(at) }
}

/// An answer.
pub fn answer(text: &str, at: u64) -> Answer {
    Answer { body: Some([3; 32]), answer: text.into(), at: Timestamp(at) }
}

async fn create(store: &dyn StateStore, new: NewKey, at: u64) -> (Key, String) {
    store.create_key(new, Timestamp(at)).await.expect("a healthy store takes it")
}

async fn key_of(store: &dyn StateStore, token: &str) -> Option<Key> {
    store.key_of(token).await.expect("it reads")
}

async fn claimed(store: &dyn StateStore, request: u8, claim: &Claim) -> Claimed {
    store.claim([request; 16], claim).await.expect("a healthy store takes it")
}

fn held(claimed: Claimed) -> Held {
    match claimed {
        Claimed::New(held) => held,
        other => panic!("it was claimed before: {other:?}"),
    }
}

/// Waits until `look` finds what is expected; another process may be behind for a moment.
async fn seen<T: PartialEq + std::fmt::Debug>(expected: T, look: impl AsyncFn() -> T) {
    let found = tokio::time::timeout(PATIENCE, async {
        while look().await != expected {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    if found.await.is_err() {
        assert_eq!(look().await, expected, "not within {PATIENCE:?}");
    }
}

async fn a_token_finds_its_key_in_every_process_at_once([a, b]: Pair) {
    for (maker, other) in [(&a, &b), (&b, &a)] {
        let (key, token) = create(&**maker, rights(), 5).await;
        assert_eq!((&key.rights, key.created_at, key.used_at), (&rights(), Timestamp(5), None));
        assert_eq!(key_of(&**other, &token).await.as_ref(), Some(&key), "no waiting");
        assert_eq!(key_of(&**maker, &token).await.as_ref(), Some(&key));
    }
}

async fn a_wrong_secret_a_foreign_token_and_an_unknown_id_find_nothing([a, b]: Pair) {
    let (key, token) = create(&*a, NewKey::named("a"), 5).await;
    let (_, other) = create(&*a, NewKey::named("b"), 6).await;
    let (_, foreign_secret) = split_token(&other).expect("a token");
    let mixed = format!("tdg_{}_{foreign_secret}", key.id);
    let cut = &token[..token.len() - 1];
    for store in [&a, &b] {
        for wrong in [mixed.as_str(), cut, "", "tdg_", "tdg__", "tdg_00000000_x", "tdg_%%%%%%%%_x", "Bearer x"] {
            assert_eq!(key_of(&**store, wrong).await, None, "{wrong}");
        }
        for id in ["", "no such id", "a.b", "*", ">", "\u{fc}"] {
            assert_eq!(store.find_key(id).await.expect("it reads"), None, "{id}");
            assert!(!store.delete_key(id).await.expect("it reads"), "{id}");
        }
    }
}

async fn a_deleted_key_is_gone_everywhere_and_once([a, b]: Pair) {
    let (key, token) = create(&*a, NewKey::named("a"), 5).await;
    assert!(key_of(&*b, &token).await.is_some());
    assert!(b.delete_key(&key.id).await.expect("it is there"));
    assert!(!a.delete_key(&key.id).await.expect("it is gone"));
    assert_eq!(key_of(&*b, &token).await, None, "at once where it was deleted");
    seen(None, async || key_of(&*a, &token).await).await;
    seen(0, async || a.key_ids().await.expect("it reads").len()).await;
    assert_eq!(b.keys().await.expect("it reads"), []);
}

async fn keys_are_listed_in_the_order_of_their_making_with_their_last_use([a, b]: Pair) {
    let (second, _) = create(&*a, NewKey::named("a"), 6).await;
    let (first, _) = create(&*b, NewKey::named("b"), 5).await;
    a.touch_key("unknown0", Timestamp(9)).await.expect("nothing to touch");
    let listed = [first.clone(), second.clone()];
    for store in [&a, &b] {
        seen(listed.to_vec(), async || store.keys().await.expect("it reads")).await;
    }
    a.touch_key(&first.id, Timestamp(9)).await.expect("it is there");
    a.touch_key(&first.id, Timestamp(12)).await.expect("it is there");
    let used = Key { used_at: Some(Timestamp(12)), ..first };
    for store in [&a, &b] {
        seen(vec![used.clone(), second.clone()], async || store.keys().await.expect("it reads")).await;
    }
}

async fn a_ticket_works_once_and_only_in_its_time([a, b]: Pair) {
    let text = "{\"id\":\"u1\"}";
    for ticket in [1, 2] {
        a.put_ticket([ticket; 32], text, Timestamp(10)).await.expect("a healthy store takes it");
    }
    let take = async |store: &Arc<dyn StateStore>, ticket, now| {
        store.take_ticket([ticket; 32], Timestamp(now)).await.expect("it reads")
    };
    assert_eq!(take(&b, 1, 9).await.as_deref(), Some(text));
    assert_eq!(take(&a, 1, 9).await, None, "taken");
    assert_eq!(take(&b, 1, 9).await, None, "taken");
    assert_eq!(take(&b, 2, 10).await, None, "expired");
    assert_eq!(take(&a, 3, 1).await, None, "never given out");
}

async fn of_many_who_come_with_one_ticket_one_gets_in(pair: Pair) {
    for ticket in 0..8 {
        pair[0].put_ticket([ticket; 32], "x", Timestamp(10)).await.expect("a healthy store takes it");
        let mut takers = tokio::task::JoinSet::new();
        for taker in 0..50 {
            let store = pair[taker % 2].clone();
            takers.spawn(async move { store.take_ticket([ticket; 32], Timestamp(1)).await });
        }
        let taken = takers.join_all().await.into_iter().filter_map(|taken| taken.expect("it reads"));
        assert_eq!(taken.collect::<Vec<_>>(), ["x"]);
    }
}

async fn a_revocation_is_seen_everywhere_until_its_time([a, b]: Pair) {
    let kinds = [Revoked::Principal, Revoked::Session, Revoked::Key];
    let each = kinds.map(|kind| Revocation { kind, ..revocation("u1", None, 5 + kind as u64, 10 * (1 + kind as u64)) });
    for revocation in &each {
        a.revoke(revocation).await.expect("a healthy store takes it");
    }
    for store in [&a, &b] {
        let at = async |now| store.revocations(Timestamp(now)).await.expect("it reads");
        seen(each.to_vec(), async || at(9).await).await;
        assert_eq!(at(10).await, each[1..]);
        assert_eq!(at(30).await, []);
    }
}

async fn of_two_revocations_of_the_same_the_later_times_count([a, b]: Pair) {
    a.revoke(&revocation("u1", None, 5, 100)).await.expect("a healthy store takes it");
    b.revoke(&revocation("u1", None, 7, 50)).await.expect("a healthy store takes it");
    a.revoke(&revocation("u1", None, 6, 60)).await.expect("a healthy store takes it");
    for store in [&a, &b] {
        let expected = vec![revocation("u1", None, 7, 100)];
        seen(expected, async || store.revocations(Timestamp(9)).await.expect("it reads")).await;
    }
    // Of many at once none is lost.
    let mut revokers = tokio::task::JoinSet::new();
    for n in 0..16 {
        let store = if n % 2 == 0 { a.clone() } else { b.clone() };
        revokers.spawn(async move { store.revoke(&revocation("u2", None, 100 + n, 1_000 - n)).await });
    }
    revokers.join_all().await.into_iter().for_each(|revoked| revoked.expect("a healthy store takes it"));
    let expected = vec![revocation("u2", None, 115, 1_000)];
    seen(expected, async || b.revocations(Timestamp(200)).await.expect("it reads")).await;
}

async fn what_is_revoked_may_be_any_text_and_namespaces_keep_them_apart([a, b]: Pair) {
    let long = "x".repeat(20_000);
    let all: Vec<Revocation> = [("u1", Some("a")), ("u1", Some("b")), ("u1", None), ("a", Some("u1"))]
        .into_iter()
        .chain(["", " ", ".", "*", "a.b/c > d", "\u{1f600}\n\0", &long].map(|value| (value, None)))
        .enumerate()
        .map(|(n, (value, namespace))| revocation(value, namespace, 5 + n as u64, 100))
        .collect();
    for revocation in &all {
        a.revoke(revocation).await.expect("a healthy store takes it");
    }
    seen(all, async || b.revocations(Timestamp(9)).await.expect("it reads")).await;
}

async fn whoever_waits_for_changes_is_woken_by_those_of_others([a, b]: Pair) {
    let (key, _) = create(&*a, NewKey::named("a"), 5).await;
    seen(1, async || b.key_ids().await.expect("it reads").len()).await;
    let mut at = b.changed(None).await.expect("at once");
    for change in 0..2 {
        let change = async {
            match change {
                0 => a.revoke(&revocation("u1", None, 5, 100)).await.expect("a healthy store takes it"),
                _ => assert!(a.delete_key(&key.id).await.expect("it is there")),
            }
        };
        let (woken, ()) = tokio::join!(tokio::time::timeout(PATIENCE, b.changed(Some(at))), change);
        at = woken.expect("it is woken").expect("it can be read");
    }
    // Perhaps it was told of each more than once, but never too few times.
    seen(0, async || b.key_ids().await.expect("it reads").len()).await;
    seen(1, async || b.revocations(Timestamp(9)).await.expect("it reads").len()).await;
}

async fn a_change_is_seen_in_another_process_within_a_second([a, b]: Pair) {
    // What takes longer does so each time; a machine that is slow for the moment does so once.
    for round in 0..8 {
        let (key, _) = create(&*a, NewKey::named("a"), 5).await;
        let is_there = async || b.key_ids().await.expect("it reads").contains(&key.id);
        seen(true, is_there).await;
        let out = revocation(&format!("u{round}"), None, 5, 100);
        let at = b.changed(None).await.expect("at once");
        let begun = Instant::now();
        let change = async {
            a.revoke(&out).await.expect("a healthy store takes it");
            assert!(a.delete_key(&key.id).await.expect("it is there"));
        };
        let (woken, ()) = tokio::join!(tokio::time::timeout(PATIENCE, b.changed(Some(at))), change);
        woken.expect("it is woken").expect("it can be read");
        seen(true, async || b.revocations(Timestamp(9)).await.expect("it reads").contains(&out)).await;
        seen(false, is_there).await;
        if begun.elapsed() < SEEN_WITHIN {
            return;
        }
    }
    panic!("it took longer than {SEEN_WITHIN:?} each time");
}

async fn a_retry_hears_the_first_answer_everywhere_for_a_day([a, b]: Pair) {
    let place = held(claimed(&*a, 1, &claim(1, 1_000)).await);
    let first = answer("{\"results\":[{\"cursor\":\"a\"}]}", 1_000);
    a.answer([1; 16], place, &first).await.expect("a healthy store takes it");
    a.answer([1; 16], place, &answer("other", 1_001)).await.expect("the first one stays");
    let day = Timestamp(1_000).after(ANSWERS_KEPT).0;
    for store in [&a, &b] {
        assert_eq!(claimed(&**store, 1, &claim(2, day)).await, Claimed::Answered(first.clone()));
    }
    let place = held(claimed(&*b, 1, &claim(2, day + 1)).await);
    let second = Answer { body: None, ..answer("second", day + 1) };
    b.answer([1; 16], place, &second).await.expect("a healthy store takes it");
    assert_eq!(claimed(&*a, 1, &claim(3, day + 2)).await, Claimed::Answered(second));
}

async fn a_request_is_claimed_once(pair: Pair) {
    if !pair[0].keeps_claims() {
        return;
    }
    for request in 0..8 {
        let mut takers = tokio::task::JoinSet::new();
        for by in 0..16 {
            let store = pair[by as usize % 2].clone();
            takers.spawn(async move { (by, store.claim([request; 16], &claim(by, 5)).await) });
        }
        let (mut won, mut lost) = (Vec::new(), Vec::new());
        for (by, outcome) in takers.join_all().await {
            match outcome.expect("a healthy store takes it") {
                Claimed::New(_) => won.push(by),
                Claimed::UnderWay(other, _) => lost.push(other.by),
                Claimed::Answered(answer) => panic!("nobody answered: {answer:?}"),
            }
        }
        assert_eq!((won.len(), lost.len()), (1, 15));
        assert!(lost.iter().all(|by| *by == won[0]), "they see who has it");
    }
}

async fn a_claim_is_taken_over_once([a, b]: Pair) {
    if !a.keeps_claims() {
        return;
    }
    let first = held(claimed(&*a, 1, &claim(1, 5)).await);
    let Claimed::UnderWay(theirs, seen) = claimed(&*b, 1, &claim(2, 6)).await else { panic!("it is under way") };
    assert_eq!(theirs, claim(1, 5));
    let second = b.take_over([1; 16], seen, &claim(2, 6)).await.expect("a healthy store takes it").expect("unchanged");
    assert_eq!(a.take_over([1; 16], seen, &claim(3, 7)).await.expect("a healthy store takes it"), None);
    // Who lost it can't give it up, and its answer counts: it was first.
    a.give_up([1; 16], first).await.expect("nothing is done");
    assert!(matches!(claimed(&*a, 1, &claim(3, 7)).await, Claimed::UnderWay(Claim { by: 2, .. }, _)));
    a.answer([1; 16], first, &answer("of a", 8)).await.expect("a healthy store takes it");
    b.answer([1; 16], second, &answer("of b", 9)).await.expect("the first one stays");
    for store in [&a, &b] {
        assert_eq!(claimed(&**store, 1, &claim(4, 10)).await, Claimed::Answered(answer("of a", 8)));
    }
}

async fn a_claim_that_was_given_up_is_free([a, b]: Pair) {
    for round in 0..3 {
        let place = held(claimed(&*a, 1, &claim(1, round)).await);
        a.give_up([1; 16], place).await.expect("a healthy store takes it");
        let place = held(claimed(&*b, 1, &claim(2, round)).await);
        b.give_up([1; 16], place).await.expect("a healthy store takes it");
    }
}

async fn the_place_up_to_which_the_log_is_known_is_recorded([a, b]: Pair) {
    if a.keeps_claims() {
        return;
    }
    assert_eq!(a.known_until().await.expect("it reads"), None);
    for offset in [1, u64::MAX] {
        let place = Cursor { epoch: Epoch(u32::MAX), offset: Offset(offset) };
        a.record(place).await.expect("a healthy store takes it");
        assert_eq!(b.known_until().await.expect("it reads"), Some(place));
    }
}

async fn what_has_run_out_is_swept_and_nothing_else([a, b]: Pair) {
    let kept = revocation("kept", None, 5, 1_000);
    for revocation in [&kept, &revocation("old", None, 5, 10), &revocation("older", None, 5, 9)] {
        a.revoke(revocation).await.expect("a healthy store takes it");
    }
    let (key, token) = create(&*a, rights(), 5).await;
    a.touch_key(&key.id, Timestamp(6)).await.expect("it is there");
    seen(3, async || b.revocations(Timestamp(0)).await.expect("it reads").len()).await;
    assert_eq!(b.sweep(Timestamp(10)).await.expect("a healthy store sweeps"), 2);
    assert_eq!(b.sweep(Timestamp(10)).await.expect("a healthy store sweeps"), 0);
    assert_eq!(b.revocations(Timestamp(0)).await.expect("it reads"), std::slice::from_ref(&kept));
    a.sweep(Timestamp(10)).await.expect("a healthy store sweeps");
    seen(vec![kept], async || a.revocations(Timestamp(0)).await.expect("it reads")).await;
    // What was swept can come again.
    let again = revocation("old", None, 20, 2_000);
    a.revoke(&again).await.expect("a healthy store takes it");
    seen(true, async || b.revocations(Timestamp(0)).await.expect("it reads").contains(&again)).await;
    assert!(key_of(&*b, &token).await.is_some());
}
