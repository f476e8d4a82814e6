import { useCallback, useContext, useEffect, useRef, useState } from 'react'
import { useSomeClient } from './context.js'
import { type CreatedJob, type Job, JobsContext } from './jobs.js'
import { errorOf, type JobStatus, useJob } from './use-job.js'

export interface UploadOptions {
  /** Another client than the provider's. */
  readonly client?: object | undefined
}

export interface Upload extends Omit<JobStatus, 'progress'> {
  /** Sends the file, and watches the job that it makes. Another upload that is under way is called off. Rejects with what `error` then says. */
  upload(file: Blob, input?: unknown): Promise<Job>
  readonly uploading: boolean
  /** How much of the file is sent, from 0 to 1. */
  readonly progress: number
  /** How far the job is, from 0 to 1. */
  readonly jobProgress: number | undefined
  /** Calls off the upload; cancels the job if there is one already. */
  cancel(): Promise<void>
  /** Forgets it all, and leaves the job alone. */
  reset(): void
}

interface Sent {
  readonly uploading: boolean
  readonly progress: number
  readonly created: CreatedJob | undefined
  readonly error: Error | undefined
}

const NOTHING: Sent = { uploading: false, progress: 0, created: undefined, error: undefined }

/** Uploads a file for a job of this kind, and watches the job. */
export function useUpload(kind: string, options: UploadOptions = {}): Upload {
  const client = useSomeClient(options.client)
  const jobs = useContext(JobsContext)
  const [sent, setSent] = useState(NOTHING)
  const sending = useRef<AbortController>(undefined)
  const { created } = sent
  const work = useJob(created?.job.id, { token: created?.token, client })

  const callOff = useCallback(() => {
    sending.current?.abort()
    sending.current = undefined
  }, [])
  useEffect(() => callOff, [callOff])

  const upload = useCallback(
    async (file: Blob, input?: unknown) => {
      callOff()
      const ending = new AbortController()
      sending.current = ending
      const change = (next: Sent) => {
        if (sending.current === ending) setSent(next)
      }
      change({ ...NOTHING, uploading: true })
      const onProgress = (progress: number) => change({ ...NOTHING, uploading: true, progress })
      try {
        const made = await jobs.upload(client, kind, file, { input, signal: ending.signal, onProgress })
        change({ ...NOTHING, progress: 1, created: made })
        return made.job
      } catch (cause) {
        const error = errorOf(cause)
        change({ ...NOTHING, error })
        throw error
      }
    },
    [client, jobs, kind, callOff],
  )

  const reset = useCallback(() => {
    callOff()
    setSent(NOTHING)
  }, [callOff])

  const cancel = async () => {
    if (created === undefined) reset()
    else await work.cancel()
  }

  return {
    ...work,
    job: work.job ?? created?.job,
    state: work.state ?? created?.job.state,
    error: sent.error ?? work.error,
    upload,
    uploading: sent.uploading,
    progress: sent.progress,
    jobProgress: work.progress,
    cancel,
    reset,
  }
}
