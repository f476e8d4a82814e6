//! What is in the tables, and how it is found.

use rusqlite::params_from_iter;
use rusqlite::types::Value;
use tidings::Timestamp;
use tidings::job::Job;

use super::super::record;
use super::*;
use crate::job_contract::done;

#[tokio::test]
async fn a_damaged_record_is_an_error_that_names_the_job_and_hides_no_other() {
    let fixture = Fixture::new();
    for n in 0..6 {
        let end = changed(&job(&format!("j{n}"), n), JobState::Completed, n);
        fixture.store.create(&Job { announced: if n < 5 { 2 } else { 1 }, ..end }).await.unwrap();
    }
    let other = fixture.other();
    other.execute("UPDATE jobs SET document = '{' WHERE id IN ('j0', 'j2', 'j5')", []).unwrap();
    let error = fixture.store.read(&id("j2")).await.unwrap_err().to_string();
    assert!(error.contains("the record of job j2 is damaged"), "{error}");
    fixture.store.create(&job("j2", 9)).await.unwrap_err();
    let ids = |jobs: Vec<Job>| jobs.into_iter().map(|job| job.id.to_string()).collect::<Vec<_>>();
    assert!(fixture.store.open_jobs().await.unwrap().is_empty());
    assert_eq!(ids(fixture.store.list(&JobQuery { limit: 2, ..everything() }).await.unwrap()), ["j4", "j3"]);
    assert_eq!(ids(fixture.store.list(&JobQuery { limit: 3, ..everything() }).await.unwrap()), ["j4", "j3", "j1"]);
    assert_eq!(ids(fixture.store.ended_before(Timestamp(9), 2).await.unwrap()), ["j1", "j3"]);
    fixture.store.remove(&id("j2")).await.unwrap();
    assert!(fixture.store.create(&job("j2", 9)).await.unwrap().is_none());
}

#[tokio::test]
async fn damaged_items_are_an_error_and_never_others() {
    let fixture = Fixture::new();
    fixture.store.create(&job("a", 1)).await.unwrap();
    fixture.store.append_items(&id("a"), 0, vec!["1".into(), "2".into()]).await.unwrap();
    for damage in ["x'05000000'", "x'0500000031'", "x'01'", "x'ffffffff31'"] {
        fixture.other().execute(&format!("UPDATE job_items SET body = {damage}"), []).unwrap();
        let error = fixture.store.items(&id("a"), 0, 9, 9).await.unwrap_err().to_string();
        assert!(error.contains("the items of job a are damaged"), "{error}");
    }
}

#[tokio::test]
async fn every_question_is_answered_by_an_index() {
    let fixture = Fixture::new();
    let connection = fixture.other();
    let plan = |(sql, params): (String, Vec<Value>)| {
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let read = |row: &rusqlite::Row<'_>| row.get::<_, String>(3);
        let steps: Vec<String> =
            statement.query_map(params_from_iter(params), read).unwrap().collect::<Result<_, _>>().unwrap();
        steps.join("; ")
    };
    for (state, state_index) in [(None, ""), (Some(JobState::Running), "_state")] {
        for (kind, kind_index) in [(None, ""), (Some("x".to_owned()), "_kind")] {
            for before in [None, Some((Timestamp(1), id("a")))] {
                let steps = plan(record::list_statement(&JobQuery { state, kind: kind.clone(), before, limit: 1 }));
                let index = match (state_index, kind_index) {
                    ("", "") => "jobs_by_creation ".to_owned(),
                    ("_state", "_kind") => "jobs_by_kind_and_state ".to_owned(),
                    (state, kind) => format!("jobs_by{state}{kind} "),
                };
                assert!(format!("{steps} ").contains(index.trim_end()) && !steps.contains("TEMP"), "{steps}");
            }
        }
    }
    let steps = plan(record::open_statement());
    assert!(steps.contains("USING INDEX jobs_open") && !steps.contains("TEMP"), "{steps}");
    let steps = plan(record::ended_statement(Timestamp(1)));
    assert!(steps.contains("USING INDEX jobs_ended") && !steps.contains("TEMP"), "{steps}");
}

#[tokio::test]
async fn a_change_of_the_state_does_not_write_the_input_again() {
    let fixture = Fixture::new();
    let input: Box<serde_json::value::RawValue> =
        serde_json::from_str(&format!("\"{}\"", "x".repeat(1 << 20))).unwrap();
    let input = std::sync::Arc::from(input);
    let first = Job { input: Some(input), ..job("a", 1) };
    fixture.store.create(&first).await.unwrap();
    let wal = || std::fs::metadata(fixture.directory.path().join("store.db-wal")).unwrap().len();
    fixture.other().execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    assert_eq!(wal(), 0);
    assert!(fixture.store.replace(&changed(&first, JobState::Running, 2), 1).await.unwrap());
    fixture.store.note_progress(vec![(id("a"), done(1))]).await.unwrap();
    fixture.store.note_announced(&id("a"), 2, None).await.unwrap();
    assert!(wal() < 200_000, "{}", wal());
    assert!(fixture.store.read(&id("a")).await.unwrap().unwrap().input.unwrap().get().len() > 1 << 20);
}

#[tokio::test]
async fn expired_tokens_are_swept() {
    let fixture = Fixture::new();
    for store in [Arc::new(Store::in_memory().unwrap()), fixture.store.clone()] {
        store.create(&job("a", 1)).await.unwrap();
        store.put_token([1; 32], &id("a"), Timestamp(10)).await.unwrap();
        store.put_token([2; 32], &id("a"), Timestamp(11)).await.unwrap();
        assert_eq!(store.sweep(Timestamp(10)).unwrap(), 1);
        assert_eq!(store.token([1; 32]).await.unwrap(), None);
        assert_eq!(store.token([2; 32]).await.unwrap(), Some((id("a"), Timestamp(11))));
    }
}

#[tokio::test]
async fn a_server_holds_it_as_one_of_several_stores_of_jobs() {
    let fixture = Fixture::new();
    let store: Arc<dyn JobStore> = fixture.store.clone();
    assert!(store.open_jobs().await.unwrap().is_empty());
}
