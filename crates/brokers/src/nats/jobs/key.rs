//! The keys of jobs in their bucket.
//!
//! | key | what it holds |
//! |---|---|
//! | `j.<id>.s.r` | the record |
//! | `j.<id>.s.a` | up to where the log tells of it |
//! | `j.<id>.s.p` | how far it is, if that is newer than the record |
//! | `j.<id>.s.l` | the lease of a worker that was heard |
//! | `j.<id>.c.<created>.<from>` | items of the result, the first with the index `from`: made once, and never changed |
//! | `j.<id>.b.<hash>` | a piece of what is too large for the above, by its SHA-256 |
//! | `j.<id>.t.<hash>` | that there is a token of this SHA-256 |
//! | `t.<hash>` | whose token it is |
//!
//! In an id `.` is written `=`, which no id has.

use tidings::job::JobId;

/// The keys that replicas follow.
pub(super) const FOLLOWED: &str = "j.*.s.*";
/// One of them that is of no job, as no id is a `.` alone: who hears of it has heard all that was put before.
pub(super) const MARK: &str = "j.=.s.m";

/// What a followed key is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Record,
    Announced,
    Progress,
    Renewal,
}

impl Part {
    fn letter(self) -> char {
        match self {
            Part::Record => 'r',
            Part::Announced => 'a',
            Part::Progress => 'p',
            Part::Renewal => 'l',
        }
    }
}

fn word(id: &JobId) -> String {
    id.as_str().replace('.', "=")
}

/// The key of a part of a job.
pub(super) fn part(id: &JobId, part: Part) -> String {
    format!("j.{}.s.{}", word(id), part.letter())
}

/// Which part of which job a followed key is of.
pub(super) fn read(key: &str) -> Option<(JobId, Part)> {
    let mut words = key.strip_prefix("j.")?.split('.');
    let (id, _, letter) = (words.next()?, words.next().filter(|word| *word == "s")?, words.next()?);
    let part = [Part::Record, Part::Announced, Part::Progress, Part::Renewal]
        .into_iter()
        .find(|part| letter.len() == 1 && letter.starts_with(part.letter()))?;
    Some((id.replace('=', ".").parse().ok()?, part))
}

/// All of a job.
pub(super) fn all(id: &JobId) -> String {
    format!("j.{}.>", word(id))
}

/// The page of items that begins with this index.
pub(super) fn page(id: &JobId, created: u64, from: u64) -> String {
    format!("j.{}.c.{created}.{from}", word(id))
}

/// All pages of items.
pub(super) fn pages(id: &JobId, created: u64) -> String {
    format!("j.{}.c.{created}.*", word(id))
}

/// A piece of something large.
pub(super) fn piece(id: &JobId, hash: &str) -> String {
    format!("j.{}.b.{hash}", word(id))
}

/// A token, and that it is one of the job.
pub(super) fn token(hash: &[u8; 32]) -> String {
    format!("t.{}", hex(hash))
}

pub(super) fn token_of(id: &JobId, hash: &[u8; 32]) -> String {
    format!("j.{}.t.{}", word(id), hex(hash))
}

pub(super) fn tokens_of(id: &JobId) -> String {
    format!("j.{}.t.*", word(id))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_id_is_one_word_of_a_key_and_reads_back() {
        for id in ["a", "a.b", ".a", "a.", "...", "A-Z_0.9", "c", "s.r"] {
            let id: JobId = id.parse().unwrap();
            for of in [Part::Record, Part::Announced, Part::Progress, Part::Renewal] {
                let key = part(&id, of);
                assert_eq!(key.split('.').count(), 4);
                assert!(key.split('.').all(|word| !word.is_empty()));
                assert_eq!(read(&key), Some((id.clone(), of)));
            }
        }
        for other in [MARK, "j.a.c.1.0", "t.00", "j.a.s.x", "j.a.s", "j.a b.s.r"] {
            assert_eq!(read(other), None, "{other}");
        }
    }
}
