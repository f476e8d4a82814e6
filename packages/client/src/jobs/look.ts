import { environmentOf } from '../environment.js'
import { TidingsError } from '../errors.js'
import { pause } from '../transports/pause.js'
import { ask, type JobClient, type JobRequestOptions, pathOf } from './ask.js'
import { hasEnded, type Job, type JobState } from './job.js'

/** The longest that one request waits for the answer to a cancel, in ms; then it is asked again. */
const CANCEL_WAIT = 20_000

/** What is known of a job now. Rejects with a {@link TidingsError}: 404 also for a job that is not to be seen. */
export async function getJob<Result = unknown>(
  client: JobClient,
  id: string,
  options: JobRequestOptions = {},
): Promise<Job<Result>> {
  return jobOf(await ask(client, pathOf(client, id), {}, options))
}

export interface CancelJobOptions extends JobRequestOptions {
  /** Resolve after this many ms at the latest, also if the worker has not answered: then `canceling` is `true`. */
  readonly wait?: number | undefined
}

/**
 * Cancels a job, and resolves when that is acknowledged: it is canceled then, or has ended otherwise, as the document says. The hub ends
 * a job whose worker does not answer.
 */
export async function cancelJob<Result = unknown>(
  client: JobClient,
  id: string,
  options: CancelJobOptions = {},
): Promise<Job<Result>> {
  const environment = environmentOf(client.options.environment)
  const until = environment.now() + (options.wait ?? Number.POSITIVE_INFINITY)
  for (;;) {
    const asked = environment.now()
    const wait = Math.max(0, Math.min(CANCEL_WAIT, until - asked))
    const path = pathOf(client, id, '', { wait: `${Math.round(wait)}ms` })
    try {
      const job = jobOf<Result>(await ask(client, path, { method: 'DELETE' }, options))
      if (hasEnded(job) || environment.now() >= until || wait === 0) return job
      // One that does not wait would be asked without pause.
      await pause(Math.min(wait, asked + 1_000 - environment.now()), environment, options.signal)
    } catch (error) {
      // It was quicker: the job has ended in another way.
      if (!(error instanceof TidingsError) || error.status !== 409) throw error
      const job = await getJob<Result>(client, id, options)
      if (hasEnded(job)) return job
      throw error
    }
  }
}

export interface JobResultOptions extends JobRequestOptions {
  /** The index of the first item. */
  readonly from?: number | undefined
  /** How many are fetched at once: 100 if left out, at most 1,000. */
  readonly page?: number | undefined
}

/** The items of a job's result in their order, page by page (protocol §10.4); also while it runs: those that are there. */
export async function* jobResult<Item = unknown>(
  client: JobClient,
  id: string,
  options: JobResultOptions = {},
): AsyncGenerator<Item, void, undefined> {
  let from: number | undefined = options.from ?? 0
  while (from !== undefined) {
    const path = pathOf(client, id, '/result', { from, limit: options.page })
    const { items, next } = (await ask(client, path, {}, options)).body
    if (!Array.isArray(items)) throw new TidingsError('protocol', 'the hub answered with a result without items')
    yield* items as Item[]
    from = typeof next === 'number' && next > from ? next : undefined
  }
}

export interface ListJobsOptions extends JobRequestOptions {
  readonly state?: JobState | undefined
  readonly kind?: string | undefined
  /** 100 if left out, at most 1,000. */
  readonly limit?: number | undefined
  /** What the page before said. */
  readonly before?: string | undefined
}

export interface JobPage {
  readonly jobs: readonly Job[]
  /** Where the next page begins; none if there is no more. */
  readonly before: string | undefined
}

/** The jobs that may be seen, newest first. */
export async function listJobs(client: JobClient, options: ListJobsOptions = {}): Promise<JobPage> {
  const { state, kind, limit, before } = options
  const { body } = await ask(client, pathOf(client, undefined, '', { state, kind, limit, before }), {}, options)
  if (!Array.isArray(body.jobs)) throw new TidingsError('protocol', 'the hub answered with a list without jobs')
  return { jobs: body.jobs as Job[], before: typeof body.before === 'string' ? body.before : undefined }
}

function jobOf<Result>({ body }: { readonly body: Readonly<Record<string, unknown>> }): Job<Result> {
  if (typeof body.id === 'string' && typeof body.state === 'string') return body as unknown as Job<Result>
  throw new TidingsError('protocol', 'the hub answered with something else than a job')
}
