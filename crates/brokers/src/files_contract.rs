//! What everything that keeps the files of jobs must do, written once. Each implementation runs it.
//!
//! A claim is a function that takes something fresh and empty, twice: as two replicas have it. It panics when the claim is false.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tidings::job::{JobFileError, JobFiles, KeptFile, is_file_name, new_file_name};

/// What two replicas keep their files in. A directory is for one: then it is the same twice.
pub type Replicas = [Arc<dyn JobFiles>; 2];

/// Checks every claim, each with what `fresh` makes.
pub async fn all(fresh: impl AsyncFn() -> Replicas) {
    what_is_kept_is_read_everywhere(fresh().await).await;
    any_part_is_read(fresh().await).await;
    beyond_its_end_reading_is_an_error(fresh().await).await;
    a_file_is_not_found_before_it_is_finished(fresh().await).await;
    a_file_that_is_given_up_leaves_nothing(fresh().await).await;
    what_is_deleted_is_gone(fresh().await).await;
    files_are_listed_with_their_age(fresh().await).await;
    no_other_name_reaches_anything(fresh().await).await;
}

/// As many bytes, none like those around it.
pub fn content(bytes: usize) -> Bytes {
    (0..bytes as u64).map(|at| at.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()[7]).collect::<Vec<_>>().into()
}

/// Keeps `content`, handed over in pieces of so many bytes, and returns its name.
pub async fn keep(files: &Arc<dyn JobFiles>, content: &Bytes, piece: usize) -> String {
    let mut new = files.begin().await.expect("a file is begun");
    let name = new.name().to_owned();
    for from in (0..content.len()).step_by(piece) {
        new.write(content.slice(from..content.len().min(from + piece))).await.expect("it is written");
    }
    let kept = new.finish().await.expect("it is kept");
    assert_eq!(kept, KeptFile { bytes: content.len() as u64, sha256: Sha256::digest(content).into() });
    name
}

/// What is read.
///
/// # Errors
/// As of opening and reading.
pub async fn read(files: &Arc<dyn JobFiles>, name: &str, part: Range<u64>) -> Result<Vec<u8>, JobFileError> {
    let mut reader = files.open(name, part).await?;
    let mut read = Vec::new();
    while let Some(piece) = reader.next().await? {
        assert!(!piece.is_empty() && piece.len() <= 128 << 10, "a piece of {} bytes", piece.len());
        read.extend_from_slice(&piece);
    }
    Ok(read)
}

fn is_missing<T>(result: &Result<T, JobFileError>) -> bool {
    matches!(result, Err(JobFileError::NotFound))
}

/// Waits until there is nothing, as what is discarded goes in its own time.
async fn empty(files: &Arc<dyn JobFiles>) {
    let gone = async {
        while !files.names().await.expect("they are listed").is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), gone).await.expect("nothing stays");
}

/// What is written at one is read at the other, in whatever pieces it came.
pub async fn what_is_kept_is_read_everywhere([here, there]: Replicas) {
    for bytes in [0, 1, 1000, (128 << 10) - 1, 128 << 10, (128 << 10) + 1, 1_000_000] {
        let content = content(bytes);
        for piece in [7 << 10, 64 << 10, 1 << 20] {
            let name = keep(&here, &content, piece).await;
            assert!(is_file_name(&name), "{name}");
            assert_eq!(read(&there, &name, 0..bytes as u64).await.expect("it is there"), content);
            here.remove(&name).await.expect("it is deleted");
        }
    }
}

/// Any part of a file is exactly those bytes.
pub async fn any_part_is_read([here, there]: Replicas) {
    let content = content(700_000);
    let name = keep(&here, &content, 50_000).await;
    let edge = 128 << 10;
    for part in [0..1, 0..0, 5..5, 699_999..700_000, 3..edge, edge - 1..edge + 1, edge..2 * edge, 100_000..600_001] {
        let read = read(&there, &name, part.start as u64..part.end as u64).await.expect("it is there");
        assert!(read == content[part.clone()], "{part:?}");
    }
}

/// Who reads beyond the end is told, and not handed less.
pub async fn beyond_its_end_reading_is_an_error([here, there]: Replicas) {
    let name = keep(&here, &content(1000), 1000).await;
    for part in [0..1001, 999..2000, 1000..1001, 5000..6000] {
        let read = read(&there, &name, part.clone()).await;
        assert!(matches!(read, Err(JobFileError::Unavailable(_))), "{part:?}: {read:?}");
    }
}

/// No file is found before it is whole.
pub async fn a_file_is_not_found_before_it_is_finished([here, there]: Replicas) {
    let mut new = here.begin().await.expect("a file is begun");
    let name = new.name().to_owned();
    new.write(content(300_000)).await.expect("it is written");
    // A directory has it there: its name is known to nobody yet.
    assert!(is_missing(&there.open(&new_file_name().expect("a name"), 0..1).await));
    new.write(content(300_000)).await.expect("it is written");
    new.finish().await.expect("it is kept");
    assert_eq!(read(&there, &name, 300_000..300_010).await.expect("it is there"), content(300_000)[..10]);
}

/// Of a file that is given up nothing stays.
pub async fn a_file_that_is_given_up_leaves_nothing([here, there]: Replicas) {
    for bytes in [0, 1, 100_000, 1_000_000] {
        let mut new = here.begin().await.expect("a file is begun");
        if bytes > 0 {
            new.write(content(bytes)).await.expect("it is written");
        }
        drop(new);
        empty(&there).await;
    }
}

/// What is deleted is gone everywhere; deleting again is well.
pub async fn what_is_deleted_is_gone([here, there]: Replicas) {
    let content = content(300_000);
    let (first, second) = (keep(&here, &content, 99_999).await, keep(&here, &content, 99_999).await);
    there.remove(&first).await.expect("it is deleted");
    assert!(is_missing(&here.open(&first, 0..1).await));
    assert_eq!(here.names().await.expect("they are listed"), std::slice::from_ref(&second));
    there.remove(&first).await.expect("it is gone already");
    there.remove(&new_file_name().expect("a name")).await.expect("there was none");
    assert_eq!(read(&there, &second, 0..300_000).await.expect("it stays"), content);
    there.discard(&second);
    empty(&here).await;
}

/// All files are listed, and each is as old as its last byte.
pub async fn files_are_listed_with_their_age([here, there]: Replicas) {
    let name = keep(&here, &content(10), 10).await;
    let mut under_way = here.begin().await.expect("a file is begun");
    under_way.write(content(1_000_000)).await.expect("it is written");
    let mut names = there.names().await.expect("they are listed");
    names.sort();
    let mut expected = [name.clone(), under_way.name().to_owned()];
    expected.sort();
    assert_eq!(names, expected);
    for name in &expected {
        let age = there.age(name).await.expect("it is told").expect("it is there");
        assert!(age < Duration::from_secs(60), "{age:?}");
    }
    there.remove(&name).await.expect("it is deleted");
    assert_eq!(there.age(&name).await.expect("it is told"), None);
}

/// A name that no file can have is not one of something else.
pub async fn no_other_name_reaches_anything([here, _]: Replicas) {
    let name = keep(&here, &content(10), 10).await;
    for other in ["", ".", "..", "*", ">", "a.b", "../x", "x y", &name[1..], &name.replace(char::is_alphabetic, "*")] {
        let other = if other == name { "*" } else { other };
        assert!(is_missing(&here.open(other, 0..1).await), "{other:?}");
        here.remove(other).await.expect("there is none");
        here.discard(other);
        assert_eq!(here.age(other).await.expect("it is told"), None, "{other:?}");
    }
    assert_eq!(read(&here, &name, 0..10).await.expect("it is there"), content(10));
}
