import type { Client } from '@tidings/client'
import { type CreatedJob, cancelJob, createJob, type Job, watchJob } from '@tidings/client/jobs'
import { type Context, createContext } from 'react'

export type { CreatedJob, Job, JobProgress, JobState } from '@tidings/client/jobs'

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
  /** Each state as it comes, the end last. */
  watch(client: Client, id: string, settings: WatchSettings): AsyncIterable<Job>
  /** Resolves when the cancel is acknowledged. */
  cancel(client: Client, id: string, settings: WatchSettings): Promise<unknown>
  upload(client: Client, kind: string, file: Blob, settings: UploadSettings): Promise<CreatedJob>
}

const ofTheHub: Jobs = {
  watch: watchJob,
  cancel: cancelJob,
  upload: (client, kind, file, { input, signal, onProgress }) =>
    createJob(client, { kind, file, input }, { signal, onUploadProgress: onProgress }),
}

/** Where the hooks take jobs from; tests give their own. */
export const JobsContext: Context<Jobs> = createContext(ofTheHub)
