//! The files: books in folders by author, covers by their content.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::epub::Cover;
use crate::words;

/// How many books may have one author and one title.
const NAMESAKES: usize = 100;

/// Where the files of books and covers are.
#[derive(Clone, Debug)]
pub struct Library {
    books: PathBuf,
    covers: PathBuf,
}

impl Library {
    /// The library in `data`; its folders are made where they are missing.
    pub fn open(data: &Path) -> io::Result<Library> {
        let library = Library { books: data.join("library"), covers: data.join("covers") };
        fs::create_dir_all(&library.books)?;
        fs::create_dir_all(&library.covers)?;
        Ok(library)
    }

    /// Puts the file on the shelf as well, whole or not at all, and says where: `Author/Title.epub`. The caller removes it from where it
    /// was once the database knows of it.
    ///
    /// The same file again, as after a crash in between, is found to be there already. Another one of that name gets a number.
    pub fn shelve(&self, file: &Path, author: &str, title: &str) -> io::Result<String> {
        let (folder, name) = (words::segment(author), words::segment(title));
        fs::create_dir_all(self.books.join(&folder))?;
        for number in 1..=NAMESAKES {
            let number = if number == 1 { String::new() } else { format!(" {number}") };
            let place = format!("{folder}/{name}{number}.epub");
            let target = self.books.join(&place);
            match place_at(file, &target) {
                Ok(()) => {
                    sync(&self.books.join(&folder))?;
                    sync(&self.books)?;
                    return Ok(place);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    if is_same(file, &target)? {
                        return Ok(place);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other(format!("there are {NAMESAKES} files named {name:?} already")))
    }

    /// Where a book's file is.
    pub fn book(&self, place: &str) -> PathBuf {
        self.books.join(place)
    }

    /// Keeps a cover, and says by which name.
    pub fn keep_cover(&self, cover: &Cover) -> io::Result<String> {
        let hash = Sha256::digest(&cover.bytes);
        let hex: String = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        let name = format!("{hex}.{}", cover.format);
        let target = self.covers.join(&name);
        if !target.exists() {
            let mut file = tempfile::NamedTempFile::new_in(&self.covers)?;
            file.write_all(&cover.bytes)?;
            file.as_file().sync_all()?;
            file.persist(&target).map_err(|error| error.error)?;
            sync(&self.covers)?;
        }
        Ok(name)
    }

    /// Removes the covers that have none of these names, and what a crash left half written; says how many there were. Nobody may keep a
    /// cover meanwhile.
    pub fn sweep_covers(&self, named: &HashSet<String>) -> io::Result<usize> {
        let is_named = |entry: &fs::DirEntry| entry.file_name().to_str().is_some_and(|name| named.contains(name));
        let mut removed = 0;
        for entry in fs::read_dir(&self.covers)? {
            let entry = entry?;
            if !is_named(&entry) && entry.file_type()?.is_file() {
                fs::remove_file(entry.path())?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Where a cover is.
    pub fn cover(&self, name: &str) -> PathBuf {
        self.covers.join(name)
    }
}

/// The file under another name as well; fails where that name is taken. A link is there at once or not at all, and so is a copy that
/// is renamed when it is whole, where the two lie on different disks.
fn place_at(file: &Path, target: &Path) -> io::Result<()> {
    match fs::hard_link(file, target) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists && error.kind() != io::ErrorKind::NotFound => {
            let folder = target.parent().unwrap_or(Path::new("."));
            let mut copy = tempfile::NamedTempFile::new_in(folder)?;
            io::copy(&mut File::open(file)?, &mut copy)?;
            copy.as_file().sync_all()?;
            copy.persist_noclobber(target).map(drop).map_err(|error| error.error)
        }
        done => done,
    }
}

/// Whether two files have the same content.
fn is_same(one: &Path, other: &Path) -> io::Result<bool> {
    let (one, other) = (File::open(one)?, File::open(other)?);
    if one.metadata()?.len() != other.metadata()?.len() {
        return Ok(false);
    }
    let (mut one, mut other) = (BufReader::new(one), BufReader::new(other));
    let (mut left, mut right) = ([0; 16 << 10], [0; 16 << 10]);
    loop {
        let read = one.read(&mut left)?;
        if read == 0 {
            return Ok(true);
        }
        other.read_exact(&mut right[..read])?;
        if left[..read] != right[..read] {
            return Ok(false);
        }
    }
}

/// A name in a folder is durable once the folder is.
fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_file_is_shelved_once_and_another_of_its_name_beside_it() {
        let data = tempfile::tempdir().unwrap();
        let library = Library::open(data.path()).unwrap();
        let (one, other) = (data.path().join("one"), data.path().join("other"));
        fs::write(&one, "one").unwrap();
        fs::write(&other, "two").unwrap();
        assert_eq!(library.shelve(&one, "Jane Austen", "Emma").unwrap(), "Jane Austen/Emma.epub");
        assert_eq!(library.shelve(&one, "Jane Austen", "Emma").unwrap(), "Jane Austen/Emma.epub");
        assert_eq!(library.shelve(&other, "Jane Austen", "Emma").unwrap(), "Jane Austen/Emma 2.epub");
        assert_eq!(fs::read(library.book("Jane Austen/Emma 2.epub")).unwrap(), b"two");
    }

    #[test]
    fn only_covers_that_a_book_names_are_kept() {
        let data = tempfile::tempdir().unwrap();
        let library = Library::open(data.path()).unwrap();
        for name in ["kept.png", "gone.png", ".tmpHalf"] {
            fs::write(library.cover(name), name).unwrap();
        }
        assert_eq!(library.sweep_covers(&HashSet::from(["kept.png".to_owned()])).unwrap(), 2);
        assert!(library.cover("kept.png").exists() && !library.cover("gone.png").exists());
    }

    #[test]
    fn no_name_leads_out_of_the_library() {
        let data = tempfile::tempdir().unwrap();
        let library = Library::open(data.path()).unwrap();
        let file = data.path().join("file");
        fs::write(&file, "x").unwrap();
        let place = library.shelve(&file, "../..", "../../../etc/cron.d/x").unwrap();
        let whole = library.book(&place).canonicalize().unwrap();
        assert!(whole.starts_with(data.path().join("library").canonicalize().unwrap()), "{whole:?}");
    }
}
