//! Answers that need not be asked for again.

use std::collections::{HashMap, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::CacheSettings;
use super::answer::Record;

/// The longest line of the file that is read back; a record takes about one KB.
const LINE: u64 = 64 << 10;

/// The last answers, by question; also that a book is not known. Those of a directory are appended to one file there,
/// a line each, and read back at the start.
#[derive(Debug)]
pub struct Cache {
    ttl: Duration,
    most: usize,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    entries: HashMap<String, Entry>,
    /// The questions in the order of their answers, oldest first. One that was asked again stands there twice; the
    /// older place is passed over.
    order: VecDeque<(String, u64)>,
    file: Option<Lines>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Entry {
    /// When it was answered, in ms since 1970.
    at: u64,
    /// None: the book is not known.
    record: Option<Record>,
}

#[derive(Serialize, Deserialize)]
struct Line {
    key: String,
    #[serde(flatten)]
    entry: Entry,
}

/// The file, open for appending, and how many lines it has.
#[derive(Debug)]
struct Lines {
    path: PathBuf,
    file: File,
    count: usize,
}

impl Cache {
    /// A cache with what its directory holds that is still fresh. A file that is damaged gives what can be read of it.
    pub fn new(settings: &CacheSettings, now: SystemTime) -> io::Result<Self> {
        let cache = Cache { ttl: settings.ttl, most: settings.entries, kept: Mutex::default() };
        if let Some(dir) = settings.dir.as_deref().filter(|_| settings.entries > 0) {
            fs::create_dir_all(dir)?;
            let path = dir.join("openlibrary.jsonl");
            for line in read(&path)? {
                cache.insert(&mut cache.kept(), line.key, line.entry);
            }
            let mut kept = cache.kept();
            kept.entries.retain(|_, entry| cache.is_fresh(entry, now));
            kept.file = Some(rewrite(&path, &kept.entries)?);
        }
        Ok(cache)
    }

    /// The answer to a question, if there is a fresh one.
    pub fn get(&self, key: &str, now: SystemTime) -> Option<Option<Record>> {
        let kept = self.kept();
        let entry = kept.entries.get(key)?;
        self.is_fresh(entry, now).then(|| entry.record.clone())
    }

    /// Keeps an answer. That the file can't be written is logged and no error: the answer itself is there.
    pub fn put(&self, key: String, record: Option<Record>, now: SystemTime) {
        if self.most == 0 {
            return;
        }
        let entry = Entry { at: ms(now), record };
        let mut kept = self.kept();
        let written = kept.append(&key, &entry, self.most);
        self.insert(&mut kept, key, entry);
        if let Err(error) = written {
            tracing::warn!(%error, "an answer of Open Library was not written to the cache");
        }
    }

    fn insert(&self, kept: &mut Kept, key: String, entry: Entry) {
        kept.order.push_back((key.clone(), entry.at));
        kept.entries.insert(key, entry);
        // Places of answers that were replaced make the order longer than the map, but never more than twice.
        while kept.entries.len() > self.most || kept.order.len() > self.most * 2 {
            let Some((key, at)) = kept.order.pop_front() else { break };
            if kept.entries.get(&key).is_some_and(|entry| entry.at == at) {
                kept.entries.remove(&key);
            }
        }
    }

    fn is_fresh(&self, entry: &Entry, now: SystemTime) -> bool {
        let ttl = u64::try_from(self.ttl.as_millis()).unwrap_or(u64::MAX);
        ms(now).saturating_sub(entry.at) < ttl
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// Appends a line, and writes the file anew when it has twice as many lines as there may be entries.
    fn append(&mut self, key: &str, entry: &Entry, most: usize) -> io::Result<()> {
        let Some(lines) = &mut self.file else { return Ok(()) };
        if lines.count >= most * 2 {
            *lines = rewrite(&lines.path, &self.entries)?;
        }
        write_line(&mut lines.file, key, entry)?;
        lines.count += 1;
        Ok(())
    }
}

/// The lines that can be read, in their order.
fn read(path: &Path) -> io::Result<Vec<Line>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut reader = BufReader::new(file);
    let mut lines = Vec::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        if io::Read::take(&mut reader, LINE).read_until(b'\n', &mut line)? == 0 {
            return Ok(lines);
        }
        // A line that broke off, as at a kill, or that was too long, is no JSON.
        lines.extend(serde_json::from_slice::<Line>(&line));
    }
}

/// Writes the entries to a new file in place of the old one, and leaves it open for more.
fn rewrite(path: &Path, entries: &HashMap<String, Entry>) -> io::Result<Lines> {
    let new = path.with_extension("new");
    let mut oldest_first: Vec<_> = entries.iter().collect();
    oldest_first.sort_by_key(|(_, entry)| entry.at);
    let mut file = io::BufWriter::new(File::create(&new)?);
    for (key, entry) in &oldest_first {
        write_line(&mut file, key, entry)?;
    }
    file.flush()?;
    fs::rename(&new, path)?;
    let file = OpenOptions::new().append(true).open(path)?;
    Ok(Lines { path: path.into(), file, count: oldest_first.len() })
}

/// One line, in one write, so that two programs with one cache do not mix theirs.
fn write_line(file: &mut impl Write, key: &str, entry: &Entry) -> io::Result<()> {
    let mut line = serde_json::to_vec(&Line { key: key.into(), entry: entry.clone() })?;
    line.push(b'\n');
    file.write_all(&line)
}

fn ms(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::book::Book;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn settings(dir: Option<&Path>, entries: usize) -> CacheSettings {
        CacheSettings { dir: dir.map(Path::to_owned), ttl: DAY, entries }
    }

    fn record(title: &str) -> Option<Record> {
        Some(Record { book: Book { title: Some(title.into()), ..Book::default() }, ..Record::default() })
    }

    fn at(ms: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_700_000_000) + Duration::from_millis(ms)
    }

    #[test]
    fn an_answer_counts_for_its_time_and_no_longer() {
        let cache = Cache::new(&settings(None, 10), at(0)).unwrap();
        cache.put("dune".into(), record("Dune"), at(0));
        cache.put("none".into(), None, at(0));
        assert_eq!(cache.get("dune", at(0) + DAY - Duration::from_millis(1)), Some(record("Dune")));
        assert_eq!(cache.get("none", at(0)), Some(None), "that there is no such book is an answer too");
        assert_eq!(cache.get("dune", at(0) + DAY), None);
        assert_eq!(cache.get("emma", at(0)), None);
    }

    #[test]
    fn the_oldest_answer_makes_room() {
        let cache = Cache::new(&settings(None, 2), at(0)).unwrap();
        for (ms, key) in ["a", "b", "a", "a", "a", "a", "a", "c"].into_iter().enumerate() {
            cache.put(key.into(), None, at(ms as u64));
        }
        let kept: Vec<bool> = ["a", "b", "c"].iter().map(|key| cache.get(key, at(9)).is_some()).collect();
        assert_eq!(kept, [true, false, true]);
        assert!(cache.kept().order.len() <= 4);
    }

    #[test]
    fn a_cache_of_no_entries_keeps_nothing() {
        let cache = Cache::new(&settings(None, 0), at(0)).unwrap();
        cache.put("a".into(), None, at(0));
        assert_eq!(cache.get("a", at(0)), None);
    }

    #[test]
    fn a_directory_gives_back_what_a_program_before_has_kept() {
        let dir = tempfile::tempdir().unwrap();
        let settings = settings(Some(dir.path()), 10);
        let cache = Cache::new(&settings, at(0)).unwrap();
        cache.put("dune".into(), record("Dune"), at(0));
        cache.put("dune".into(), record("Dune, again"), at(1));
        cache.put("none".into(), None, at(2));
        drop(cache);
        let cache = Cache::new(&settings, at(3)).unwrap();
        assert_eq!(cache.get("dune", at(3)), Some(record("Dune, again")));
        assert_eq!(cache.get("none", at(3)), Some(None));
        let later = Cache::new(&settings, at(3) + DAY).unwrap();
        assert_eq!(later.get("dune", at(3)), None, "what is stale is not read back");
    }

    #[test]
    fn a_damaged_file_gives_the_lines_that_are_whole() {
        let dir = tempfile::tempdir().unwrap();
        let settings = settings(Some(dir.path()), 10);
        Cache::new(&settings, at(0)).unwrap().put("dune".into(), record("Dune"), at(0));
        let path = dir.path().join("openlibrary.jsonl");
        let mut bytes = b"\xff\xfe broken\n".to_vec();
        bytes.extend(vec![b'x'; 2 * LINE as usize]);
        bytes.extend(b"\n");
        bytes.extend(fs::read(&path).unwrap());
        bytes.extend(b"{\"key\":\"torn\",\"at\":17");
        fs::write(&path, bytes).unwrap();
        let cache = Cache::new(&settings, at(1)).unwrap();
        assert_eq!(cache.get("dune", at(1)), Some(record("Dune")));
    }

    #[test]
    fn the_file_does_not_grow_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(&settings(Some(dir.path()), 3), at(0)).unwrap();
        for n in 0..50u64 {
            cache.put(format!("key {n}"), None, at(n));
        }
        let text = fs::read_to_string(dir.path().join("openlibrary.jsonl")).unwrap();
        assert!(text.lines().count() <= 7, "{}", text.lines().count());
        assert!(text.contains("key 49"));
    }
}
