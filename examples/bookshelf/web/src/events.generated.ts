// The data of the events of bookshelf, as it is told.
// Made by `tidings types --profile bookshelf`. Do not edit it: change the schemas, and make it again.

/** Something in the download queue, whole. */
export interface QueueItem {
  /** Its number. */
  id: number
  /** The book that is fetched. */
  book: {
    id: number
    title: string
  }
  /** How far it is. */
  status: 'grabbed' | 'downloading' | 'completed' | 'importing' | 'imported' | 'failed'
  /** How much of it is there. While it is fetched, queue.progress tells it. */
  percent: number
  /** How fast it comes. */
  speed: string | null
  /** Why it failed. */
  error: string | null
  /** When it was added, in ms since 1970. */
  addedAt: number
}

/** How the refresh of all authors has ended. */
export interface AuthorRefreshFinished {
  status: 'completed' | 'canceled' | 'failed'
  /** How many authors there are. */
  total: number
  /** How many were looked up. */
  done: number
  /** For how many it did not work. */
  failed: number
  /**
   * When it began.
   * Format: date-time.
   */
  started_at: string
  /**
   * When it ended.
   * Format: date-time.
   */
  completed_at: string
}

/** How far the refresh of all authors is. */
export interface AuthorRefreshProgress {
  status: 'running'
  /** How many authors there are. */
  total: number
  /** How many were looked up. */
  done: number
  /** For how many it did not work. */
  failed: number
  /**
   * When it began.
   * Format: date-time.
   */
  started_at: string
}

/** Something about an author, or about their books, has changed. How many books there are differs by who asks, and so is not told. */
export interface AuthorUpdated {
  /** Their number. */
  id: number
  /** Their name. */
  name: string
  /** When they were looked up last, in ms since 1970. */
  refreshedAt: number | null
}

/** A book, whole. */
export interface Book {
  /** Its number. */
  id: number
  /** Its title. */
  title: string
  /** Who wrote it. */
  author: {
    id: number
    name: string
  }
  /** The series it is of, and which of it. */
  series: {
    id: number
    name: string
    index: number | null
  } | null
  /** How far it is on its way to the shelf. */
  status: 'wanted' | 'downloading' | 'downloaded' | 'imported' | 'skipped'
  /** The id of the user it belongs to; nobody's is everybody's. */
  owner: string | null
  /** Where its cover is. Another cover has another address. */
  cover: string | null
  /** Its file, once it is there. */
  file: {
    name: string
    format: string
    bytes: number
  } | null
  /** When it was added, in ms since 1970. */
  addedAt: number
  /** When it last changed, in ms since 1970. */
  updatedAt: number
  /** Grows with each change of the book. */
  revision: number
}

/** A book that is gone, or is now another's. */
export interface BookRemoved {
  /** Its number. */
  id: number
}

/** A file in the watch folder that is no book; it lies in `failed` there. */
export interface ImportFailed {
  /** The name of the file. */
  file: string
  /** Why it is no book, as a sentence. */
  message: string
  /** When it was looked at, in ms since 1970. */
  at: number
}

/** How the import of a list has ended. */
export interface ImportFinished {
  /** The job, whose result has more. */
  job: string
  status: 'completed' | 'failed' | 'canceled'
  /** How many books were added. */
  added: number
  /** How many were there already. */
  known: number
  /** How many rows could not be used. */
  failed: number
  /** Why it failed as a whole. */
  error: string | null
}

/** What became of something in the download queue. */
export interface QueueChanged {
  action: 'added' | 'updated' | 'removed'
  item: QueueItem
}

/** How far a download is. */
export interface QueueProgress {
  /** The item in the queue. */
  id: number
  /** The book that is fetched. */
  bookId: number
  percent: number
  /** How fast it comes. */
  speed: string | null
}

/** What passes by while something is measured. */
export interface ShelfNoise {
  /** Which of the topics. */
  id: number
  /** Which of the storm. */
  number: number
  /** When it was made, in ms since 1970. */
  at: number
}

/** The data of each event, by its name. */
export interface Events {
  'author.refresh.finished': AuthorRefreshFinished
  'author.refresh.progress': AuthorRefreshProgress
  'author.updated': AuthorUpdated
  'book.added': Book
  'book.removed': BookRemoved
  'book.updated': Book
  'import.failed': ImportFailed
  'import.finished': ImportFinished
  'queue.changed': QueueChanged
  'queue.progress': QueueProgress
  'shelf.noise': ShelfNoise
}

/** Any of the events, told apart by `name`. */
export type LiveEvent = {
  [Name in keyof Events]: { readonly name: Name; readonly data: Events[Name] }
}[keyof Events]
