import type { Client } from '@tidings/client'
import { type Context, createContext } from 'react'

/** What a job's worker says of how far it is. */
export interface JobProgress {
  readonly done: number
  readonly total?: number
  /** From 0 to 1. */
  readonly fraction?: number
  readonly message?: string
  readonly item?: unknown
}

/** What is known of a job (protocol §10.1). Times are in ms since 1970. */
export interface JobDocument {
  readonly id: string
  readonly kind: string
  readonly state: 'queued' | 'running' | 'completed' | 'failed' | 'canceled' | 'lost'
  readonly canceling?: boolean
  readonly progress?: JobProgress
  readonly result?: unknown
  readonly error?: { readonly code: string; readonly message: string; readonly retryable?: boolean }
  readonly [member: string]: unknown
}

export interface WatchSettings {
  readonly token?: string | undefined
  readonly signal?: AbortSignal | undefined
}

export interface UploadSettings {
  readonly input?: unknown
  readonly signal: AbortSignal
  /** From 0 to 1. */
  readonly onProgress: (fraction: number) => void
}

/** What the hooks need of jobs. */
export interface Jobs {
  /** Each state as it comes, and after the end nothing more. */
  watch(client: Client, id: string, settings: WatchSettings): AsyncIterable<JobDocument>
  /** Resolves when the cancel is acknowledged. */
  cancel(client: Client, id: string, settings: WatchSettings): Promise<unknown>
  upload(client: Client, kind: string, file: Blob, settings: UploadSettings): Promise<CreatedJob>
}

export interface CreatedJob {
  readonly job: JobDocument
  /** A credential for this job alone. */
  readonly token: string | undefined
}

/** Where the hooks take jobs from; tests give their own. */
export const JobsContext: Context<Jobs> = createContext<Jobs>({
  watch: () => {
    throw new Error('no jobs')
  },
  cancel: () => Promise.reject(new Error('no jobs')),
  upload: () => Promise.reject(new Error('no jobs')),
})
