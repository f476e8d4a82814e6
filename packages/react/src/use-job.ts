import { useCallback, useContext, useEffect, useState } from 'react'
import { useSomeClient } from './context.js'
import { type Job, JobsContext } from './jobs.js'

export interface JobOptions {
  /** The job's own token, for who may not see it otherwise. */
  readonly token?: string | undefined
  /** Another client than the provider's. */
  readonly client?: object | undefined
}

export interface JobStatus {
  /** The newest that is known. */
  readonly job: Job | undefined
  /** From 0 to 1; `undefined` while nobody has said how much there is. 1 once it is completed. */
  readonly progress: number | undefined
  readonly state: Job['state'] | undefined
  readonly result: unknown
  /** Why it failed, or why it can't be watched or canceled. */
  readonly error: { readonly message: string } | undefined
  /** Asks the worker to stop. Resolves when that is acknowledged; rejects with what `error` then says. */
  cancel(): Promise<void>
  /** It was canceled, and has not ended yet. */
  readonly canceling: boolean
}

interface Seen {
  readonly of: string | undefined
  readonly job: Job | undefined
  readonly error: Error | undefined
  readonly canceling: boolean
}

/** Watches a job until it ends. Without an `id` it waits for one. */
export function useJob(id: string | undefined, options: JobOptions = {}): JobStatus {
  const client = useSomeClient(options.client)
  const jobs = useContext(JobsContext)
  const { token } = options
  const [kept, keep] = useState<Seen>(nothing(id))
  // What is known of another job is not shown for this one.
  const seen = kept.of === id ? kept : nothing(id)

  useEffect(() => {
    if (id === undefined) return
    const ending = new AbortController()
    const { signal } = ending
    const change = (part: Partial<Seen>) => {
      if (!signal.aborted) keep(old => ({ ...(old.of === id ? old : nothing(id)), ...part }))
    }
    const watch = async () => {
      for await (const job of jobs.watch(client, id, { token, signal })) change({ job })
    }
    watch().catch(cause => change({ error: errorOf(cause) }))
    return () => ending.abort()
  }, [client, jobs, id, token])

  const cancel = useCallback(async () => {
    if (id === undefined) return
    const change = (part: Partial<Seen>) => keep(old => (old.of === id ? { ...old, ...part } : old))
    change({ canceling: true, error: undefined })
    try {
      await jobs.cancel(client, id, { token })
    } catch (cause) {
      const error = errorOf(cause)
      change({ canceling: false, error })
      throw error
    }
  }, [client, jobs, id, token])

  const { job } = seen
  const ended = job !== undefined && job.state !== 'queued' && job.state !== 'running'
  return {
    job,
    progress: job?.state === 'completed' ? 1 : job?.progress?.fraction,
    state: job?.state,
    result: job?.result,
    error: seen.error ?? job?.error,
    cancel,
    canceling: !ended && (seen.canceling || job?.canceling === true),
  }
}

function nothing(id: string | undefined): Seen {
  return { of: id, job: undefined, error: undefined, canceling: false }
}

export function errorOf(cause: unknown): Error {
  return cause instanceof Error ? cause : new Error(String(cause), { cause })
}
