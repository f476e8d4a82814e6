// The data of the events of bindery, as it is told.
// Made by `tidings types --profile bindery`. Do not edit it: change the schemas, and make it again.

/** How far the refresh of all authors is: after each author, and at the end. */
export interface AuthorRefreshProgress {
  /** `running` until it is over. */
  status: string
  /** How many authors there are. */
  total: number
  done: number
  failed: number
  /** Format: date-time. */
  completed_at?: string | null
  message?: string | null
  /** Format: date-time. */
  started_at?: string
}

/** A book changed: the importer, the scanner or the grab pipeline did it. What is not told did not change. */
export interface BookUpdated {
  id: number
  audiobookFilePath?: string
  ebookFilePath?: string
  /** Empty where there is no file. */
  filePath?: string
  status?: 'wanted' | 'downloading' | 'downloaded' | 'imported' | 'skipped'
}

/** What a download client says of a download. Nothing of it is kept. */
export interface DownloadProgress {
  /** The download. */
  id: number
  /** `42.0` */
  percentage?: string
  /** `3.1 MB/s` */
  speed?: string
  /** `00:01:10` */
  timeLeft?: string
}

/** A download was added to the queue or removed from it, or its state changed. */
export interface QueueChanged {
  /** The download. */
  id: number
  action?: 'added' | 'removed' | 'updated'
  bookId?: number | null
  status?: 'grabbed' | 'downloading' | 'completed' | 'importPending' | 'importing' | 'imported' | 'failed' | 'importFailed' | 'importBlocked' | 'importExternal' | 'importHeld'
}

/** The data of each event, by its name. */
export interface Events {
  'author.refresh.progress': AuthorRefreshProgress
  'book.updated': BookUpdated
  'download.progress': DownloadProgress
  'queue.changed': QueueChanged
}

/** Any of the events, told apart by `name`. */
export type LiveEvent = {
  [Name in keyof Events]: { readonly name: Name; readonly data: Events[Name] }
}[keyof Events]
