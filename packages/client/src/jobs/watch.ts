import { environmentOf } from '../environment.js'
import { TidingsError } from '../errors.js'
import { aborted } from '../failure.js'
import { tell } from '../listeners.js'
import { forGood } from '../transports/for-good.js'
import { isObject } from '../transports/http.js'
import { pause } from '../transports/pause.js'
import type { JobRequestOptions } from './ask.js'
import { EVERY, type Feed, join, type WatchClient } from './feed.js'
import { hasEnded, type Job } from './job.js'
import { jobResult } from './look.js'
import { JobQueue } from './queue.js'
import { healing, heals, report } from './report.js'
import { StreamFeed } from './stream-feed.js'
import { TopicFeed } from './topic-feed.js'

export interface WatchJobOptions<Result = unknown> extends JobRequestOptions {
  /** Told of each document before the end's. */
  readonly onProgress?: ((job: Job<Result>) => void) | undefined
  /** Told of each item of the result, in order and once: those that were there before come first. */
  readonly onItem?: ((item: unknown, index: number) => void) | undefined
  /** Told of the end, once. */
  readonly onEnd?: ((job: Job<Result>) => void) | undefined
  /**
   * Told in place of the end, once, if the job can't be watched any more. Not of the watch's own `close()` and `signal`. Left out, and where
   * nobody takes `done` or reads either, the client's `onError` is told.
   */
  readonly onError?: ((error: TidingsError) => void) | undefined
}

/**
 * A job as it goes on. To leave the loop, to close it or to abort the signal is not to cancel the job. Reading on after a close or an
 * abort rejects with `aborted`, so that nobody takes that for the end.
 */
export interface JobWatch<Result = unknown> extends AsyncIterable<Job<Result>> {
  /** The document of the end. Rejects with a {@link TidingsError} if the job can't be watched, or the watch was aborted. */
  readonly done: Promise<Job<Result>>
  /** Stops watching. */
  close(): void
}

/**
 * Watches a job to its end: its state now, then what comes, and the end's document last and once. Failures that heal are told to the
 * client's `onError`; others end the watch.
 *
 * By the client's connection, which it begins if need be and leaves as it is; with a token, by a stream of its own. Where nothing comes by
 * these for 5 s, by asking every 2 s. Those who watch one job by one client share all of that, and it ends when that is closed or logged out.
 */
export function watchJob<Result = unknown>(
  client: WatchClient,
  id: string,
  options: WatchJobOptions<Result> = {},
): JobWatch<Result> {
  const watch = new Watch<Result>(client, id, options)
  return {
    get done() {
      return watch.end()
    },
    close: () => watch.close(),
    [Symbol.asyncIterator]: () => watch.read(),
  }
}

class Watch<Result> {
  readonly #done: Promise<Job<Result>>
  readonly #client: WatchClient
  readonly #id: string
  readonly #options: WatchJobOptions<Result>
  readonly #over = new AbortController()
  readonly #queues = new Set<JobQueue<Result>>()
  #resolve: (job: Job<Result>) => void = () => {}
  #reject: (error: TidingsError) => void = () => {}
  #last: Job<Result> | undefined
  #failed: { readonly error: TidingsError } | undefined
  /** Somebody has the promise, or reads. */
  #isHeard = false
  /** The index of the next item. */
  #item = 0
  /** What was told and waits for items that come before it. */
  readonly #inbox: Told[] = []
  #busy = false

  constructor(client: WatchClient, id: string, options: WatchJobOptions<Result>) {
    this.#client = client
    this.#id = id
    this.#options = options
    this.#done = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
    // Who reads by the loop or by callbacks need not care for the promise.
    this.#done.catch(() => {})
    const { signal } = options
    signal?.addEventListener('abort', this.close)
    this.#over.signal.addEventListener('abort', () => signal?.removeEventListener('abort', this.close))
    // After the caller has what it watches with.
    queueMicrotask(() => {
      if (signal?.aborted) this.close()
      else if (!this.#over.signal.aborted) this.#begin()
    })
  }

  readonly close = (): void => {
    this.#fail(aborted(this.#options.signal))
  }

  end(): Promise<Job<Result>> {
    this.#isHeard = true
    return this.#done
  }

  read(): JobQueue<Result> {
    this.#isHeard = true
    const queue: JobQueue<Result> = new JobQueue(() => {
      this.#queues.delete(queue)
      // The last reader has left, and nobody else is told.
      const { onProgress, onItem, onEnd } = this.#options
      if (this.#queues.size === 0 && !onProgress && !onItem && !onEnd) this.close()
    })
    if (this.#last) queue.push(this.#last)
    if (this.#failed) queue.end(this.#failed)
    this.#queues.add(queue)
    return queue
  }

  #begin(): void {
    const { token } = this.#options
    const client = this.#client
    const { sse } = client.options.paths ?? {}
    // A profile's own stream need not bring jobs.
    const isApart = token !== undefined || (typeof sse === 'string' && sse !== 'v1/events')
    const make = (): Feed => new (isApart ? StreamFeed : TopicFeed)(client, this.#id, token)
    try {
      const leave = join(client, JSON.stringify([this.#id, token]), make, {
        document: document => this.#take({ document }),
        item: item => this.#take({ item }),
        failed: error => this.#lose(error),
      })
      const { signal } = this.#over
      if (signal.aborted) leave()
      else signal.addEventListener('abort', leave)
    } catch (error) {
      // Options that can't be meant.
      this.#lose(error)
    }
  }

  #take(told: Told): void {
    if (this.#over.signal.aborted) return
    this.#inbox.push(told)
    if (!this.#busy) void this.#work()
  }

  /** Hands on what was told, in order, at once where no item is missing before it. */
  async #work(): Promise<void> {
    this.#busy = true
    for (let told = this.#inbox.shift(); told; told = this.#inbox.shift()) {
      if (this.#isMissing(told)) await this.#fetchItems()
      if ('item' in told) this.#hearItem(told.item)
      else this.#hear(told.document)
    }
    this.#busy = false
  }

  /** Whether items come before this that were not told. */
  #isMissing(told: Told): boolean {
    if (!this.#options.onItem) return false
    const count =
      'item' in told ? isObject(told.item) && told.item.index : this.#isNew(told.document) && told.document.items
    return typeof count === 'number' && count > this.#item
  }

  /** Reads on in the result page, until there is no more of it now. */
  async #fetchItems(): Promise<void> {
    const environment = environmentOf(this.#client.options.environment)
    const { signal } = this.#over
    while (!signal.aborted) {
      try {
        const { token } = this.#options
        for await (const item of jobResult(this.#client, this.#id, { token, signal, from: this.#item })) {
          this.#hearItem({ index: this.#item, item })
        }
        return
      } catch (error) {
        if (signal.aborted) return
        if (!heals(error)) {
          this.#lose(error)
          return
        }
        report(this.#client, healing(error))
        await pause(EVERY, environment, signal)
      }
    }
  }

  #isNew(document: unknown): document is Job<Result> {
    if (!isObject(document) || document.id !== this.#id) return false
    const job = document as unknown as Job<Result>
    const last = this.#last
    if (!last) return true
    // Who comes back is told again what is so; a signal may be older than what was read since.
    if (job.revision !== last.revision) return job.revision > last.revision
    return !(job.updated < last.updated) && JSON.stringify(job) !== JSON.stringify(last)
  }

  #hear(job: unknown): void {
    if (this.#over.signal.aborted || !this.#isNew(job)) return
    this.#last = job
    const isEnd = hasEnded(job)
    if (isEnd) this.#over.abort()
    for (const queue of this.#queues) queue.push(job)
    this.#call(() => (isEnd ? this.#options.onEnd?.(job) : this.#options.onProgress?.(job)))
    if (isEnd) this.#resolve(job)
  }

  #hearItem(told: unknown): void {
    if (this.#over.signal.aborted || !isObject(told) || typeof told.index !== 'number' || told.index < this.#item)
      return
    const { index, item } = told
    this.#item = index + 1
    this.#call(() => this.#options.onItem?.(item, index))
  }

  /** What a callback throws is reported, and stops nobody else. */
  #call(run: () => unknown): void {
    tell(run, undefined, cause =>
      report(this.#client, new TidingsError('handler', 'a callback of watchJob threw', { cause })),
    )
  }

  /** It can't be watched any more. */
  #lose(cause: unknown): void {
    if (this.#over.signal.aborted) return
    const error = forGood(cause instanceof TidingsError ? cause : new TidingsError('refused', String(cause), { cause }))
    this.#fail(error)
    const { onError } = this.#options
    if (onError) this.#call(() => onError(error))
    // Whoever closed the client knows it.
    else if (!this.#isHeard && error.code !== 'aborted') report(this.#client, error)
  }

  #fail(error: TidingsError): void {
    if (this.#over.signal.aborted) return
    this.#failed = { error }
    this.#over.abort()
    for (const queue of this.#queues) queue.end(this.#failed)
    this.#reject(error)
  }
}

/** What the feed told. */
type Told = { readonly document: unknown } | { readonly item: unknown }
