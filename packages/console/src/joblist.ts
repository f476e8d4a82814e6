import type { Job } from './model.js'

/** The jobs by id, with `job` in place of what was known of it, unless that is newer. */
export function withJob(jobs: ReadonlyMap<string, Job>, job: Job): ReadonlyMap<string, Job> {
  const known = jobs.get(job.id)
  if (known && (known.revision > job.revision || (known.revision === job.revision && known.updated > job.updated)))
    return jobs
  return new Map(jobs).set(job.id, job)
}

/** Newest first. */
export function newestFirst(jobs: Iterable<Job>): Job[] {
  return [...jobs].sort((a, b) => (isOlder(a, b) ? 1 : -1))
}

/** Whether `job` stands behind `other` in the list. */
export function isOlder(job: Job, other: Job): boolean {
  return job.created === other.created ? job.id < other.id : job.created < other.created
}

/** How far back the list of the jobs in one state, or in all, has been read. */
export interface Extent {
  readonly state: string | undefined
  /** The oldest that was read; none when the list is empty, or was read to its end. */
  readonly last: Job | undefined
  /** Where it goes on; none at its end. */
  readonly before: string | undefined
}

/** The extent after one more page. */
export function further(
  { jobs, before }: { readonly jobs: readonly Job[]; readonly before?: string },
  state: string | undefined,
  was?: Extent,
): Extent {
  return { state, before, last: before === undefined ? undefined : (jobs.at(-1) ?? was?.last) }
}

/** Whether something is a job's document. Events of others may have names that begin alike. */
export function isJob(data: unknown): data is Job {
  if (typeof data !== 'object' || data === null) return false
  const { id, kind, state, revision } = data as Record<string, unknown>
  return typeof id === 'string' && typeof kind === 'string' && typeof state === 'string' && typeof revision === 'number'
}

/** From 0 to 1, or nothing where the worker has not said how much there is. */
export function fraction(job: Job): number | undefined {
  const { progress } = job
  if (job.state === 'completed') return 1
  if (!progress) return undefined
  if (progress.fraction !== undefined) return Math.min(1, Math.max(0, progress.fraction))
  return progress.total ? Math.min(1, progress.done / progress.total) : undefined
}

export function isOver(job: Job): boolean {
  return job.state !== 'queued' && job.state !== 'running'
}
