// Figures of a run that somebody looks at while it goes on.

/** How old events were when they were heard, in ms: counted in buckets, each a tenth wider than the one before. */
export class Delays {
  #buckets = []
  count = 0
  worst = 0

  note(milliseconds) {
    const bucket = Math.ceil(Math.log(Math.max(1, milliseconds)) / Math.log(1.1))
    this.#buckets[bucket] = (this.#buckets[bucket] ?? 0) + 1
    this.count++
    if (milliseconds > this.worst) this.worst = milliseconds
  }

  /** The delay that this part of all stayed below: `quantile(0.99)`. */
  quantile(part) {
    let left = Math.ceil(part * this.count)
    for (const [bucket, count] of this.#buckets.entries()) {
      left -= count ?? 0
      if (count && left <= 0) return Math.min(this.worst, Math.round(1.1 ** bucket))
    }
    return 0
  }
}

/** How much a count has grown since it was last asked, per second. */
export class Rate {
  #count = 0
  #at = performance.now()

  /** The rate of now, after `count`. */
  of(count) {
    const [more, time] = [count - this.#count, performance.now() - this.#at]
    this.#count = count
    this.#at = performance.now()
    return Math.round(more * 1000 / Math.max(1, time))
  }
}

/** A number as people write it: 12,345. */
export const counted = number => number.toLocaleString('en-US')

/** A time as people write it: 850 ms, 2.4 s. */
export const took = milliseconds => (milliseconds < 1_000 ? `${Math.round(milliseconds)} ms` : `${(milliseconds / 1000).toFixed(1)} s`)

/** Minutes and seconds: 1:05. */
export const clock = seconds => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds) % 60).padStart(2, '0')}`
