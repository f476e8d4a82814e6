import type { Gap, LiveEvent } from '@tidings/client'

/** Where batches and gaps go. */
export interface HeldSink<Event> {
  events(events: readonly Event[]): void
  gap(gap: Gap): void
}

/** Passes batches and gaps on, or keeps them, in order, while it is paused. */
export class Held<Event extends LiveEvent> {
  readonly #limit: number
  readonly #sink: HeldSink<Event>
  #paused = false
  #queue: (readonly Event[] | Gap)[] = []
  #events = 0

  /** Keeps `limit` events at most; what is more is told as a gap. */
  constructor(limit: number, sink: HeldSink<Event>) {
    this.#limit = limit
    this.#sink = sink
  }

  add(events: readonly Event[]): void {
    if (!this.#paused) {
      this.#sink.events(events)
      return
    }
    this.#events += events.length
    this.#queue.push(events)
    if (this.#events > this.#limit) this.#drop(events)
  }

  gap(gap: Gap): void {
    if (!this.#paused) {
      this.#sink.gap(gap)
      return
    }
    const last = this.#queue.at(-1)
    if (last !== undefined && !isBatch(last)) this.#queue.pop()
    this.#queue.push(gap)
  }

  pause(): void {
    this.#paused = true
  }

  resume(): void {
    this.#paused = false
    const queue = this.#queue
    this.#queue = []
    this.#events = 0
    let events: Event[] = []
    const flush = () => {
      if (events.length > 0) this.#sink.events(events)
      events = []
    }
    for (const one of queue) {
      if (isBatch(one)) events = events.concat(one)
      else {
        flush()
        this.#sink.gap(one)
      }
    }
    flush()
  }

  #drop(last: readonly Event[]) {
    const resumed = last.at(-1)?.cursor ?? ''
    this.#queue = [{ reason: 'trimmed', asked: undefined, resumed, atMost: this.#events }]
    this.#events = 0
  }
}

function isBatch<Event>(one: readonly Event[] | Gap): one is readonly Event[] {
  return Array.isArray(one)
}
