import { reconnectDelay } from '../backoff.js'
import { environmentOf } from '../environment.js'
import { TidingsError } from '../errors.js'
import { EventSource, type StreamErrorEvent } from '../event-source.js'
import { aborted } from '../failure.js'
import { settle } from '../settings.js'
import { forGood } from '../transports/for-good.js'
import { isObject } from '../transports/http.js'
import { pause } from '../transports/pause.js'
import type { Environment } from '../types.js'
import { answerOf, initOf, type JobClient, type JobRequestOptions, pathOf } from './ask.js'
import { hasEnded, type Job } from './job.js'
import { getJob, jobResult } from './look.js'
import { JobQueue } from './queue.js'

/** A hub sends the head and the first bytes of a stream at once; without one for this long, in ms, something holds them back. */
const FIRST_BYTE = 5_000

/** A stream that is cut sooner than this is short-lived, in ms, and so many in a row are no accident. */
const SHORT = 20_000
const ROW = 3

/** How often a job is asked about where it can't be streamed, in ms: 30 times a minute. */
const EVERY = 2_000

/** The names of protocol §10.2 that have the document as data. */
const STATES = ['queued', 'running', 'canceling', 'completed', 'failed', 'canceled', 'lost', 'progress']

export interface WatchJobOptions<Result = unknown> extends JobRequestOptions {
  /** Told of each document before the end's. */
  readonly onProgress?: ((job: Job<Result>) => void) | undefined
  /** Told of each item that the worker tells, in order and once. */
  readonly onItem?: ((item: unknown, index: number) => void) | undefined
  /** Told of the end, once. */
  readonly onEnd?: ((job: Job<Result>) => void) | undefined
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
 * Watches a job to its end: its state now, then what comes, and the end's document last and once.
 *
 * By a stream that comes back by itself; where streams don't get through, by asking every 2 s.
 */
export function watchJob<Result = unknown>(
  client: JobClient,
  id: string,
  options: WatchJobOptions<Result> = {},
): JobWatch<Result> {
  const watch = new Watch<Result>(client, id, options)
  return {
    done: watch.done,
    close: () => watch.close(),
    [Symbol.asyncIterator]: () => watch.read(),
  }
}

class Watch<Result> {
  readonly done: Promise<Job<Result>>
  readonly #client: JobClient
  readonly #id: string
  readonly #options: WatchJobOptions<Result>
  readonly #environment: Environment
  readonly #over = new AbortController()
  readonly #queues = new Set<JobQueue<Result>>()
  #resolve: (job: Job<Result>) => void = () => {}
  #reject: (error: TidingsError) => void = () => {}
  #last: Job<Result> | undefined
  #failed: { readonly error: TidingsError } | undefined
  /** The index of the next item. */
  #item = 0

  constructor(client: JobClient, id: string, options: WatchJobOptions<Result>) {
    this.#client = client
    this.#id = id
    this.#options = options
    this.#environment = environmentOf(client.options.environment)
    this.done = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
    // Who reads by the loop or by callbacks need not care for the promise.
    this.done.catch(() => {})
    const { signal } = options
    signal?.addEventListener('abort', this.close)
    this.#over.signal.addEventListener('abort', () => signal?.removeEventListener('abort', this.close))
    // After the caller has what it watches with.
    queueMicrotask(() => {
      if (signal?.aborted) this.close()
      else if (!this.#over.signal.aborted) this.#begin()
    })
  }

  readonly close = (): void => this.#fail(aborted(this.#options.signal))

  read(): JobQueue<Result> {
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
    try {
      this.#stream()
    } catch (error) {
      // Options that can't be meant.
      this.#fail(error)
    }
  }

  #stream(): void {
    const { now, setTimeout, clearTimeout } = this.#environment
    const { signal } = this.#over
    const url = new URL(pathOf(this.#client, this.#id, '/events'), settle(this.#client.options, this.#environment).url)
    let opened: number | undefined
    let row = 0
    let timer: unknown

    const source = new EventSource(url, {
      environment: this.#environment,
      backoff: this.#client.options.backoff,
      silence: this.#client.options.silence ?? 45_000,
      fetch: (input, init = {}) => {
        clearTimeout(timer)
        timer = setTimeout(poll, FIRST_BYTE)
        return this.#client.request(String(input), this.#streamed(init))
      },
    })
    const stop = (): void => {
      clearTimeout(timer)
      source.close()
    }
    const poll = (): void => {
      stop()
      void this.#poll()
    }
    signal.addEventListener('abort', stop)

    source.onopen = () => {
      opened = now()
    }
    const heard = (): void => {
      clearTimeout(timer)
    }
    source.addEventListener('tidings.open', heard)
    source.addEventListener('tidings.close', () => {
      // It ends for a reason, and not by accident.
      opened = undefined
      row = 0
    })
    source.addEventListener('job.item', ({ data }) => {
      heard()
      this.#hearItem(jsonOf(data))
    })
    for (const state of STATES) {
      source.addEventListener(`job.${state}`, ({ data }) => {
        heard()
        this.#hear(jsonOf(data))
      })
    }
    source.onerror = event => {
      clearTimeout(timer)
      const { error, status } = event as StreamErrorEvent
      const isShort = opened !== undefined && now() - opened < SHORT
      row = isShort ? row + 1 : opened === undefined ? row : 0
      opened = undefined
      if (source.readyState !== EventSource.CLOSED) {
        if (row >= ROW) poll()
      } else if (error.code === 'content-type' || error.code === 'protocol') poll()
      // The end was told to somebody who had this place, or it is not told here any more.
      else if (status === 204 || status === 4007) void this.#look()
      else this.#fail(error)
    }
  }

  /** A request of the stream with the job's own credential, if any; the client adds its own where there is none. */
  #streamed(init: RequestInit): RequestInit {
    const headers = new Headers(init.headers)
    if (this.#options.token !== undefined) headers.set('authorization', `Bearer ${this.#options.token}`)
    return { ...init, headers, credentials: this.#client.options.credentials ?? 'same-origin' }
  }

  /** What the job is now, where that should be its end. */
  async #look(): Promise<void> {
    try {
      this.#hear(await getJob(this.#client, this.#id, { ...this.#options, signal: this.#over.signal }))
      if (!this.#over.signal.aborted) await this.#poll()
    } catch {
      await this.#poll()
    }
  }

  async #poll(): Promise<void> {
    const { signal } = this.#over
    const path = pathOf(this.#client, this.#id)
    for (let failures = 0; !signal.aborted; ) {
      let wait = EVERY
      try {
        const init = initOf({ cache: 'no-store' }, { token: this.#options.token, signal })
        const answer = await answerOf(this.#client, await this.#client.request(path, init))
        if ('error' in answer) {
          if (!answer.error.retrying) throw answer.error
          wait = Math.max(EVERY, answer.least)
        } else {
          failures = 0
          await this.#fetchItems(answer.body)
          this.#hear(answer.body)
        }
      } catch (error) {
        const heals = error instanceof TidingsError && (error.code === 'network' || error.code === 'token')
        if (!heals) {
          this.#fail(error)
          return
        }
        wait = Math.max(EVERY, reconnectDelay(failures++, undefined, this.#environment.random))
      }
      if (!signal.aborted) await pause(wait, this.#environment, signal)
    }
  }

  /** Who is told of items is told of them here too, before the document that counts them. */
  async #fetchItems({ items }: Readonly<Record<string, unknown>>): Promise<void> {
    if (!this.#options.onItem || typeof items !== 'number' || items <= this.#item) return
    const options = { token: this.#options.token, signal: this.#over.signal, from: this.#item }
    for await (const item of jobResult(this.#client, this.#id, options)) {
      this.#hearItem({ id: this.#id, index: this.#item, item })
    }
  }

  #hear(document: unknown): void {
    if (this.#over.signal.aborted || !isObject(document) || document.id !== this.#id) return
    const job = document as unknown as Job<Result>
    const last = this.#last
    // Who comes back is told again what is so; a signal may be older than what was read since.
    if (last && (job.revision < last.revision || JSON.stringify(job) === JSON.stringify(last))) return
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
  #call(run: () => void): void {
    try {
      run()
    } catch (cause) {
      const error = new TidingsError('handler', 'a callback of watchJob threw', { cause })
      const { onError } = this.#client.options
      if (onError) onError(error)
      else console.error(error)
    }
  }

  #fail(cause: unknown): void {
    if (this.#over.signal.aborted) return
    const error = forGood(cause instanceof TidingsError ? cause : new TidingsError('refused', String(cause), { cause }))
    this.#failed = { error }
    this.#over.abort()
    for (const queue of this.#queues) queue.end(this.#failed)
    this.#reject(error)
  }
}

function jsonOf(data: unknown): unknown {
  try {
    return JSON.parse(String(data))
  } catch {
    return undefined
  }
}
