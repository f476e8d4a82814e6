//! Something to look at: users, and books that belong to everybody by now.

use std::sync::Arc;

use crate::app::App;
use crate::book::{self, NewBook, Status};
use crate::fault::{Fault, Result};
use crate::viewer::Role;
use crate::{author, queue, users};

/// A book of the demo.
type Sample = (&'static str, &'static str, Option<(&'static str, f64)>, char);

/// Title, author, series and which of it, and how far it is: `i`mported, `w`anted, `s`kipped, `q`ueued.
const BOOKS: [Sample; 41] = [
    ("Sense and Sensibility", "Jane Austen", None, 'w'),
    ("Pride and Prejudice", "Jane Austen", None, 'i'),
    ("Mansfield Park", "Jane Austen", None, 'w'),
    ("Emma", "Jane Austen", None, 'i'),
    ("Northanger Abbey", "Jane Austen", None, 'w'),
    ("Persuasion", "Jane Austen", None, 'q'),
    ("A Study in Scarlet", "Arthur Conan Doyle", Some(("Sherlock Holmes", 1.0)), 'i'),
    ("The Sign of the Four", "Arthur Conan Doyle", Some(("Sherlock Holmes", 2.0)), 'i'),
    ("The Adventures of Sherlock Holmes", "Arthur Conan Doyle", Some(("Sherlock Holmes", 3.0)), 'i'),
    ("The Memoirs of Sherlock Holmes", "Arthur Conan Doyle", Some(("Sherlock Holmes", 4.0)), 'w'),
    ("The Hound of the Baskervilles", "Arthur Conan Doyle", Some(("Sherlock Holmes", 5.0)), 'q'),
    ("The Return of Sherlock Holmes", "Arthur Conan Doyle", Some(("Sherlock Holmes", 6.0)), 'w'),
    ("The Lost World", "Arthur Conan Doyle", Some(("Professor Challenger", 1.0)), 'i'),
    ("The Poison Belt", "Arthur Conan Doyle", Some(("Professor Challenger", 2.0)), 'w'),
    ("The Wonderful Wizard of Oz", "L. Frank Baum", Some(("Oz", 1.0)), 'i'),
    ("The Marvelous Land of Oz", "L. Frank Baum", Some(("Oz", 2.0)), 'i'),
    ("Ozma of Oz", "L. Frank Baum", Some(("Oz", 3.0)), 'w'),
    ("Dorothy and the Wizard in Oz", "L. Frank Baum", Some(("Oz", 4.0)), 'w'),
    ("A Princess of Mars", "Edgar Rice Burroughs", Some(("Barsoom", 1.0)), 'i'),
    ("The Gods of Mars", "Edgar Rice Burroughs", Some(("Barsoom", 2.0)), 'w'),
    ("The Warlord of Mars", "Edgar Rice Burroughs", Some(("Barsoom", 3.0)), 'w'),
    ("Twenty Thousand Leagues Under the Seas", "Jules Verne", Some(("Voyages extraordinaires", 6.0)), 'i'),
    ("Around the World in Eighty Days", "Jules Verne", Some(("Voyages extraordinaires", 11.0)), 'i'),
    ("The Mysterious Island", "Jules Verne", Some(("Voyages extraordinaires", 12.0)), 'w'),
    ("The Time Machine", "H. G. Wells", None, 'i'),
    ("The Island of Doctor Moreau", "H. G. Wells", None, 's'),
    ("The Invisible Man", "H. G. Wells", None, 'w'),
    ("The War of the Worlds", "H. G. Wells", None, 'i'),
    ("Frankenstein", "Mary Shelley", None, 'i'),
    ("The Last Man", "Mary Shelley", None, 'w'),
    ("Dracula", "Bram Stoker", None, 'i'),
    ("Jane Eyre", "Charlotte Brontë", None, 'i'),
    ("Wuthering Heights", "Emily Brontë", None, 'i'),
    ("The Tenant of Wildfell Hall", "Anne Brontë", None, 'w'),
    ("Middlemarch", "George Eliot", None, 'i'),
    ("Moby-Dick", "Herman Melville", None, 'i'),
    ("Great Expectations", "Charles Dickens", None, 'i'),
    ("The Mystery of Edwin Drood (unavailable)", "Charles Dickens", None, 'w'),
    ("Treasure Island", "Robert Louis Stevenson", None, 'i'),
    ("The Picture of Dorian Gray", "Oscar Wilde", None, 'w'),
    ("Walden", "Henry David Thoreau", None, 's'),
];

/// Books of one user alone: by name.
const OWNED: [(&str, &str, &str); 4] = [
    ("ann", "The Yellow Wallpaper", "Charlotte Perkins Gilman"),
    ("ann", "The Awakening", "Kate Chopin"),
    ("ben", "The Call of the Wild", "Jack London"),
    ("ben", "White Fang", "Jack London"),
];

/// Fills a database that has no users yet; their passwords are their names.
pub async fn fill(app: &Arc<App>) -> Result<()> {
    if !app.db.read(users::are_none).await? {
        return Ok(());
    }
    let (filled, now) = (app.clone(), app.now());
    let done = tokio::task::spawn_blocking(move || {
        let people = [("admin", Role::Admin), ("ann", Role::Member), ("ben", Role::Member)];
        let hashes: Vec<String> = people.iter().map(|(name, _)| filled.passwords.hash(name)).collect::<Result<_>>()?;
        filled.db.write_here(|tx| {
            let mut ids = Vec::new();
            for ((name, role), hash) in people.iter().zip(&hashes) {
                ids.push((*name, users::add(tx, name, *role, hash)?));
            }
            for (title, author, series, state) in BOOKS {
                let series = series.map(|(name, index)| (name.to_owned(), Some(index)));
                let new = NewBook { title: title.into(), author: author.into(), series, owner: None };
                let book = book::add(tx, &new, now, "The book came with the demo.")?;
                match state {
                    // Its file is in another house: nothing is made up here.
                    'i' => set(tx, book.id, now, Status::Imported)?,
                    's' => set(tx, book.id, now, Status::Skipped)?,
                    'q' => drop(queue::add(tx, &book, now)?),
                    _ => {}
                }
            }
            for (name, title, author) in OWNED {
                let owner = ids.iter().find(|(known, _)| *known == name).map(|(_, id)| *id);
                let new = NewBook { title: title.into(), author: author.into(), owner, ..NewBook::default() };
                book::add(tx, &new, now, "The book came with the demo.")?;
            }
            author::all(tx)?.into_iter().try_for_each(|(id, _)| author::tell(tx, id))
        })
    });
    done.await.map_err(|error| Fault::Broken(error.to_string()))?
}

fn set(tx: &rusqlite::Transaction<'_>, id: i64, now: i64, status: Status) -> Result<()> {
    book::change(tx, id, now, "The book came with the demo.", &[("status", &status.name())]).map(drop)
}
