/** Jobs as they are on the wire (protocol §10.1). Times are in ms since 1970. */

/** Where a job is. After one of the last four nothing comes. */
export type JobState = 'queued' | 'running' | 'completed' | 'failed' | 'canceled' | 'lost'

export interface JobProgress {
  readonly done: number
  readonly total?: number
  /** `done/total`, from 0 to 1. */
  readonly fraction?: number
  readonly message?: string
  /** What is worked on. */
  readonly item?: unknown
}

/** What is known of a job. Members that say nothing are left out. */
export interface Job<Result = unknown> {
  readonly id: string
  readonly kind: string
  readonly state: JobState
  /** Which try this is, from 1; 0 while none was made. */
  readonly attempt: number
  readonly attempts: number
  /** Somebody has canceled it, and its worker has not answered yet. */
  readonly canceling?: boolean
  readonly progress?: JobProgress
  /** What the worker said at the end. */
  readonly result?: Result
  /** How many items its result page has. */
  readonly items?: number
  /** The first of them, with the end, where the kind asks for it. */
  readonly first?: readonly unknown[]
  /** Of `failed` and `lost`. */
  readonly error?: { readonly code: string; readonly message: string; readonly retryable?: boolean }
  readonly owner?: string
  readonly created: number
  readonly started?: number
  readonly updated: number
  readonly ended?: number
  /** Grows with each change of the state. */
  readonly revision: number
}

/** A job that was made, or was there already. */
export interface CreatedJob<Result = unknown> {
  readonly job: Job<Result>
  /** A credential that counts for this job alone: to watch and to cancel it. */
  readonly token: string
  /** Until when. */
  readonly expires: number
}

/** Whether nothing comes after this. */
export function hasEnded({ state }: Pick<Job, 'state'>): boolean {
  return state !== 'queued' && state !== 'running'
}
