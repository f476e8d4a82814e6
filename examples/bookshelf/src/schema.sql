CREATE TABLE users (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    role TEXT NOT NULL CHECK (role IN ('admin', 'member')),
    password TEXT NOT NULL
) STRICT;

-- By the SHA-256 of what the cookie says: who reads the database can't log in with it.
CREATE TABLE sessions (
    hash BLOB PRIMARY KEY,
    id TEXT NOT NULL,
    user INTEGER NOT NULL REFERENCES users ON DELETE CASCADE,
    created INTEGER NOT NULL,
    expires INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- `key` is the name as it is compared: lower case, without signs.
CREATE TABLE authors (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    key TEXT NOT NULL UNIQUE,
    refreshed_at INTEGER
) STRICT;

CREATE TABLE series (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    key TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE books (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    title TEXT NOT NULL,
    key TEXT NOT NULL,
    author INTEGER NOT NULL REFERENCES authors,
    series INTEGER REFERENCES series,
    series_index REAL,
    status TEXT NOT NULL CHECK (status IN ('wanted', 'downloading', 'downloaded', 'imported', 'skipped')),
    owner INTEGER REFERENCES users,
    cover TEXT,
    file_path TEXT,
    file_bytes INTEGER,
    added_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    revision INTEGER NOT NULL DEFAULT 1
) STRICT;
CREATE INDEX books_by_key ON books (key, author);
CREATE INDEX books_by_author ON books (author);
CREATE INDEX books_by_series ON books (series);

CREATE TABLE history (
    id INTEGER PRIMARY KEY,
    book INTEGER NOT NULL REFERENCES books ON DELETE CASCADE,
    at INTEGER NOT NULL,
    what TEXT NOT NULL
) STRICT;
CREATE INDEX history_by_book ON history (book);

CREATE TABLE queue (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    book INTEGER NOT NULL REFERENCES books ON DELETE CASCADE,
    status TEXT NOT NULL CHECK (status IN ('grabbed', 'downloading', 'completed', 'importing', 'imported', 'failed')),
    error TEXT,
    attempt INTEGER NOT NULL DEFAULT 1,
    added_at INTEGER NOT NULL
) STRICT;
CREATE INDEX queue_by_book ON queue (book);

-- What is committed and not told yet. An id is never given twice, so that the log knows what it tells already.
CREATE TABLE outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    data TEXT NOT NULL,
    scope TEXT
) STRICT;

-- Up to where the log was told of all that the outbox had.
CREATE TABLE told (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    cursor TEXT NOT NULL
) STRICT;
