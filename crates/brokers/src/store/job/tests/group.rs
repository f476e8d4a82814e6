//! Many writes share a commit, and none suffers from another.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tidings::Timestamp;
use tidings::job::Job;
use tokio::sync::Barrier;

use super::*;
use crate::store::NewKey;

#[tokio::test]
async fn two_hundred_writes_at_once_take_two_commits() {
    let fixture = Fixture::new();
    let jobs: Vec<Job> = (0..200).map(|n| job(&format!("j{n}"), n)).collect();
    for job in &jobs {
        fixture.store.create(job).await.unwrap();
    }
    let ends: Vec<Job> = jobs.iter().map(|job| changed(job, JobState::Completed, 9)).collect();
    let before = fixture.store.job_commits();
    let other = fixture.other();
    let held = hold(&other);
    let mut writes: Vec<_> = ends.iter().map(|end| fixture.store.replace(end, 1)).collect();
    begin_all(&mut writes).await;
    drop(held);
    for write in writes {
        assert!(write.await.unwrap());
    }
    // The first may have gone alone, before the others came.
    assert!((1..=2).contains(&(fixture.store.job_commits() - before)));
}

#[tokio::test]
async fn a_write_that_is_refused_leaves_the_others_of_its_group_alone() {
    let fixture = Fixture::new();
    fixture.store.create(&job("a", 1)).await.unwrap();
    let other = fixture.other();
    let held = hold(&other);
    let (a, b) = (id("a"), job("b", 2));
    let item = |text: &'static str| vec![Bytes::from_static(text.as_bytes())];
    let mut first = fixture.store.append_items(&a, 0, item("0"));
    let mut gap = fixture.store.append_items(&a, 5, item("5"));
    let mut second = fixture.store.append_items(&a, 1, item("1"));
    let mut unknown = fixture.store.put_token([1; 32], &b.id, Timestamp(1));
    let mut create = fixture.store.create(&b);
    let waits = [begin(&mut first), begin(&mut gap), begin(&mut second), begin(&mut unknown)];
    assert!(waits.iter().all(Poll::is_pending) && begin(&mut create).is_pending());
    drop(held);
    assert!(first.await.is_ok() && second.await.is_ok());
    let error = gap.await.unwrap_err().to_string();
    assert!(error.contains("job a has 1 items, so the next has index 1, not 5"), "{error}");
    assert!(unknown.await.unwrap_err().to_string().contains("there is no job b"));
    assert!(create.await.unwrap().is_none());
    assert_eq!(fixture.store.items(&a, 0, 9, 9).await.unwrap(), ["0", "1"]);
}

#[tokio::test]
async fn a_write_that_fails_in_the_middle_leaves_nothing_of_itself() {
    let fixture = Fixture::new();
    let other = fixture.other();
    let held = hold(&other);
    let put = |token: u8| format!("INSERT INTO job_tokens VALUES (x'{token:02}', 1, 1)");
    let mut first = Box::pin(fixture.store.jobs.write(0, move |database| Ok(database.execute(&put(1), [])?)));
    let mut fails = Box::pin(fixture.store.jobs.write(0, move |database| {
        database.execute(&put(2), [])?;
        Ok(database.execute("INSERT INTO nowhere VALUES (1)", [])?)
    }));
    let mut last = Box::pin(fixture.store.jobs.write(0, move |database| Ok(database.execute(&put(3), [])?)));
    assert!(begin(&mut first).is_pending() && begin(&mut fails).is_pending() && begin(&mut last).is_pending());
    drop(held);
    assert_eq!((first.await.unwrap(), last.await.unwrap()), (1, 1));
    let error = fails.await.unwrap_err().to_string();
    assert!(error.contains("the database refused: no such table: nowhere"), "{error}");
    assert_eq!(count(&other, "job_tokens"), 2);
}

#[tokio::test]
async fn on_a_full_disk_what_is_small_still_fits_and_what_does_not_is_told_why() {
    let fixture = Fixture::new();
    fixture.store.create(&job("a", 1)).await.unwrap();
    // As if the disk ended some pages on.
    let limit = |most: i64| {
        fixture.store.jobs.write(0, move |database| {
            let pages: i64 = database.pragma_query_value(None, "page_count", |row| row.get(0))?;
            Ok(database.query_row(&format!("PRAGMA max_page_count = {}", pages + most), [], |_| Ok(()))?)
        })
    };
    limit(20).await.unwrap();
    let other = fixture.other();
    let held = hold(&other);
    let (a, b, c) = (id("a"), job("b", 2), job("c", 3));
    let mut first = fixture.store.create(&b);
    let mut large = fixture.store.append_items(&a, 0, vec![Bytes::from(vec![b'x'; 1 << 20])]);
    let mut last = fixture.store.create(&c);
    assert!(begin(&mut first).is_pending() && begin(&mut large).is_pending() && begin(&mut last).is_pending());
    drop(held);
    assert!(first.await.is_ok() && last.await.is_ok());
    let error = large.await.unwrap_err().to_string();
    assert!(error.contains("the disk is full"), "{error}");
    assert_eq!(fixture.store.read(&a).await.unwrap().unwrap().items, 0, "none of it is there");
    limit(1_000_000).await.unwrap();
    fixture.store.append_items(&a, 0, vec![Bytes::from(vec![b'x'; 1 << 20])]).await.unwrap();
}

#[tokio::test]
async fn who_reads_does_not_wait_for_who_writes() {
    let fixture = Fixture::new();
    let first = job("a", 1);
    fixture.store.create(&first).await.unwrap();
    let next = changed(&first, JobState::Running, 2);
    let other = fixture.other();
    let held = hold(&other);
    let mut write = fixture.store.replace(&next, 1);
    assert!(begin(&mut write).is_pending());
    // It would wait for ever.
    assert_eq!(fixture.store.read(&first.id).await.unwrap().unwrap().revision, 1);
    assert_eq!(fixture.store.list(&everything()).await.unwrap().len(), 1);
    drop(held);
    assert!(write.await.unwrap());
    assert_eq!(fixture.store.read(&first.id).await.unwrap().unwrap().revision, 2);
}

#[tokio::test]
async fn a_group_does_not_begin_while_somebody_is_at_the_other_connection() {
    let fixture = Fixture::new();
    let first = job("a", 1);
    let mut write = fixture.store.create(&first);
    {
        let connection = fixture.store.connection();
        assert!(begin(&mut write).is_pending());
        // Time enough for it, if it did not wait.
        for _ in 0..5_000 {
            assert_eq!(count(&connection, "jobs"), 0);
        }
        // And this would be refused at once if it had begun.
        connection.busy_timeout(Duration::ZERO).unwrap();
        connection.execute("INSERT INTO places VALUES ('a', 1, 1)", []).unwrap();
        assert_eq!(fixture.store.job_commits(), 0);
    }
    assert!(write.await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_makes_keys_gets_through_however_many_jobs_are_written() {
    let fixture = Fixture::new();
    let (is_over, have_begun) = (Arc::new(AtomicBool::new(false)), Arc::new(Barrier::new(9)));
    let writers: Vec<_> = (0..8)
        .map(|n| {
            let (store, is_over, have_begun) = (fixture.store.clone(), is_over.clone(), have_begun.clone());
            tokio::spawn(async move {
                let job = job(&format!("j{n}"), n);
                store.create(&job).await.unwrap();
                have_begun.wait().await;
                let mut from = 0;
                while !is_over.load(Ordering::SeqCst) {
                    store.append_items(&job.id, from, vec![Bytes::from(vec![b'x'; 2_000]); 20]).await.unwrap();
                    from += 20;
                }
            })
        })
        .collect();
    have_begun.wait().await;
    let store = fixture.store.clone();
    let keys = tokio::task::spawn_blocking(move || {
        for n in 0..20 {
            store.create_key(NewKey::named("a"), Timestamp(n)).unwrap();
        }
        store.keys().unwrap().len()
    });
    let keys = keys.await;
    is_over.store(true, Ordering::SeqCst);
    assert_eq!(keys.unwrap(), 20);
    for writer in writers {
        writer.await.unwrap();
    }
}

#[tokio::test]
async fn no_more_waits_to_be_written_than_there_is_room_for() {
    let fixture = Fixture::new();
    let done = Arc::<AtomicU64>::default();
    let other = fixture.other();
    let held = hold(&other);
    let write = |bytes| {
        let done = done.clone();
        Box::pin(fixture.store.jobs.write(bytes, move |_| {
            done.fetch_add(1, Ordering::SeqCst);
            Ok(())
        }))
    };
    let mut writes: Vec<_> = (0..40).map(|_| write(1 << 20)).collect();
    begin_all(&mut writes).await;
    // Some were handed in, and are done though nobody waits; the others have asked for nothing yet.
    drop(writes);
    drop(held);
    write(usize::MAX).await.unwrap();
    assert_eq!(done.load(Ordering::SeqCst), 31 + 1, "32 MiB less what belongs to each");
}

#[tokio::test]
async fn what_was_handed_in_is_written_before_the_store_ends() {
    let fixture = Fixture::new();
    let other = fixture.other();
    let held = hold(&other);
    let jobs: Vec<Job> = (0..300).map(|n| job(&format!("j{n}"), n)).collect();
    let mut writes: Vec<_> = jobs.iter().map(|job| fixture.store.create(job)).collect();
    begin_all(&mut writes).await;
    drop((writes, held));
    let fixture = fixture.reopened();
    assert_eq!(fixture.store.list(&everything()).await.unwrap().len(), 300);
}

#[tokio::test]
async fn what_somebody_relies_on_is_synced_and_progress_is_not() {
    let fixture = Fixture::new();
    let mode =
        |database: &Connection| Ok(database.pragma_query_value(None, "synchronous", |row| row.get::<_, i64>(0))?);
    let seen = Arc::<AtomicU64>::default();
    for _ in 0..2 {
        assert_eq!(fixture.store.jobs.write(0, mode).await.unwrap(), 2, "FULL");
        let note = seen.clone();
        let look = move |database: &Connection| {
            note.store(mode(database)? as u64, Ordering::SeqCst);
            Ok(())
        };
        let commits = fixture.store.job_commits();
        fixture.store.jobs.writer.write_later(0, look).await.unwrap();
        while fixture.store.job_commits() == commits {
            tokio::task::yield_now().await;
        }
        assert_eq!(seen.load(Ordering::SeqCst), 1, "NORMAL");
    }
}
