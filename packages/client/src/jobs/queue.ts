import { hasEnded, type Job } from './job.js'

/** Whether this tells of progress alone, so that of two such the newer one is enough. */
function isSameState(a: Job, b: Job): boolean {
  return a.revision === b.revision && a.state === b.state
}

/**
 * What was told of a job and not taken yet, for one reader. A slow one is spared the progress in between; states are few, and none of
 * them is left out.
 */
export class JobQueue<Result> implements AsyncIterator<Job<Result>, undefined> {
  readonly #told: Job<Result>[] = []
  #waiting: { resolve(result: IteratorResult<Job<Result>, undefined>): void; reject(error: unknown): void }[] = []
  #over: { readonly error?: unknown } | undefined
  readonly #leave: () => void

  constructor(leave: () => void) {
    this.#leave = leave
  }

  push(job: Job<Result>): void {
    const waiting = this.#waiting.shift()
    const last = this.#told.at(-1)
    if (waiting) waiting.resolve({ done: false, value: job })
    else if (last && isSameState(last, job)) this.#told.splice(-1, 1, job)
    else this.#told.push(job)
    if (hasEnded(job)) this.end()
  }

  /** Nothing more comes; with an error it is told after what came before. */
  end(failed?: { readonly error: unknown }): void {
    this.#over ??= failed ?? {}
    for (const { resolve, reject } of this.#waiting.splice(0)) {
      if ('error' in this.#over) reject(this.#over.error)
      else resolve({ done: true, value: undefined })
    }
  }

  next(): Promise<IteratorResult<Job<Result>, undefined>> {
    const value = this.#told.shift()
    if (value) return Promise.resolve({ done: false, value })
    if (!this.#over) return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }))
    const { error } = this.#over
    // Told once, as a generator does.
    const failed = 'error' in this.#over
    this.#over = {}
    return failed ? Promise.reject(error) : Promise.resolve({ done: true, value: undefined })
  }

  /** The reader goes away: the job goes on. */
  return(): Promise<IteratorResult<Job<Result>, undefined>> {
    this.#told.length = 0
    this.end()
    this.#leave()
    return Promise.resolve({ done: true, value: undefined })
  }
}
