-- What the log knows a row by: drawn at random, so that the rows of another database, or of one that was brought back from a copy, are
-- never taken for those that were told before. Rows from before this keep what they were known by, which was their id.
CREATE TABLE outbox_2 (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    data TEXT NOT NULL,
    scope TEXT,
    mark BLOB NOT NULL DEFAULT (randomblob(8))
) STRICT;
INSERT INTO outbox_2 (id, name, data, scope, mark) SELECT id, name, data, scope, unhex(printf('%016x', id)) FROM outbox;
-- An id is never given twice, also not one of the table before.
DELETE FROM sqlite_sequence WHERE name = 'outbox_2';
INSERT INTO sqlite_sequence (name, seq) SELECT 'outbox_2', seq FROM sqlite_sequence WHERE name = 'outbox';
DROP TABLE outbox;
ALTER TABLE outbox_2 RENAME TO outbox;

-- What is told once whoever says it how often: the end of a job that is done a second time after a crash.
CREATE TABLE told_once (
    key TEXT PRIMARY KEY,
    at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
