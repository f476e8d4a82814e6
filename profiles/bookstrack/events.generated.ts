// The data of the events of bookstrack, as it is told.
// Made by `tidings types --profile bookstrack`. Do not edit it: change the schemas, and make it again.

/** A book that was found. */
export interface Book {
  title: string
  authors?: string[]
  isbn?: string | null
  language?: string | null
}

/** The data of `canceled`. */
export interface Canceled {
  jobId: string
  status: 'canceled'
  /** `done` of `total`, 0 to 1. */
  progress: number
  processedCount: number
  totalCount: number
}

/** The data of `completed`. */
export interface Completed {
  jobId: string
  status: 'completed'
  /** `done` of `total`, 0 to 1. */
  progress: number
  processedCount: number
  totalCount: number
  /** Format: date-time. */
  completedAt: string
  /** The first books of an import. */
  books?: Book[]
  /** A summary of what was done. */
  summary?: { [member: string]: unknown }
}

/** The data of `failed`. */
export interface Failed {
  jobId: string
  status: 'failed'
  /** `done` of `total`, 0 to 1. */
  progress: number
  processedCount: number
  totalCount: number
  error: {
    /** For programs. */
    code: string
    /** A sentence. */
    message: string
    /** Whether another try may go better. */
    retryable: boolean
  }
}

/** One item of a job's result. */
export interface JobItem {
  /** The job. */
  id: string
  /** Which item it is, from 0. */
  index: number
  item: {
    book?: Book
    index?: number
    /** What was asked for. */
    query?: { [member: string]: unknown }
    /** `found` or `not-found` */
    status?: string
  }
}

/** The data of `progress`. */
export type Progress =
  | {
    jobId: string
    status: 'processing'
    /** `done` of `total`, 0 to 1. */
    progress: number
    processedCount: number
    totalCount: number
    /** Format: date-time. */
    startedAt: string
    message?: string
  }
  | {
    jobId: string
    status: 'initialized'
    /** `done` of `total`, 0 to 1. */
    progress: number
    processedCount: number
    totalCount: number
    /** Format: date-time. */
    startedAt: string
    message?: string
  }

/** The data of each event, by its name. */
export interface Events {
  canceled: Canceled
  completed: Completed
  failed: Failed
  'job.item': JobItem
  progress: Progress
}

/** Any of the events, told apart by `name`. */
export type LiveEvent = {
  [Name in keyof Events]: { readonly name: Name; readonly data: Events[Name] }
}[keyof Events]
