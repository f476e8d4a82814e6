import { wants } from './filter.js'
import type { Batch } from './source.js'
import type { Gap, LiveEvent, Subscription, SubscriptionOptions } from './types.js'

/** What is known of the events' types here: nothing. The client's surface is typed. */
type Any = Record<string, unknown>
type Options = SubscriptionOptions<Any>

/** What a listener needs of the client around it. */
interface Surroundings {
  /** The topics of those that name none. */
  readonly topics: readonly string[] | undefined
  /** What is wanted has changed. */
  changed(): void
  gap(gap: Gap): void
  /** A listener threw. */
  failed(cause: unknown): void
}

/** One who listens. */
interface Listener {
  options: Options
  active: boolean
}

/** Whoever listens on this page, in the order in which they came. */
export class Listeners {
  readonly #surroundings: Surroundings
  readonly #all = new Set<Listener>()

  constructor(surroundings: Surroundings) {
    this.#surroundings = surroundings
  }

  get size(): number {
    return this.#all.size
  }

  /** What each of them wants. */
  *wanted(): Iterable<readonly string[] | undefined> {
    for (const { options } of this.#all) yield options.topics ?? this.#surroundings.topics
  }

  add(options: Options): Subscription<Any> {
    const listener: Listener = { options, active: true }
    const unsubscribe = () => {
      if (!listener.active) return
      listener.active = false
      listener.options.signal?.removeEventListener('abort', unsubscribe)
      this.#all.delete(listener)
      this.#surroundings.changed()
    }
    const heed = () => {
      if (listener.options.signal?.aborted) unsubscribe()
      else listener.options.signal?.addEventListener('abort', unsubscribe, { once: true })
    }
    if (options.signal?.aborted) listener.active = false
    else {
      this.#all.add(listener)
      this.#surroundings.changed()
      heed()
    }
    return {
      unsubscribe,
      replace: next => {
        if (!listener.active) return
        listener.options.signal?.removeEventListener('abort', unsubscribe)
        listener.options = next as unknown as Options
        this.#surroundings.changed()
        heed()
      },
    }
  }

  /**
   * Hands a batch to all who listen now. Who comes while it is told hears the next one; who leaves hears no more of it; who wants
   * something else hears this one to its end as before.
   */
  tell(batch: Batch): void {
    const told = [...this.#all].map(listener => ({ listener, options: listener.options, events: [] as LiveEvent[] }))
    const flush = () => {
      for (const { listener, options, events } of told) {
        if (events.length > 0 && listener.active) this.#try(options.onBatch, events.splice(0))
      }
    }
    for (const frame of batch.frames) {
      if (frame.type === 'gap') {
        // What came before the gap is drawn before anybody is told to fetch anew.
        flush()
        for (const { listener, options } of told) if (listener.active) this.#try(options.onGap, frame.gap)
        this.#surroundings.gap(frame.gap)
        continue
      }
      for (const { listener, options, events } of told) {
        if (!listener.active || !this.#fits(options, frame.event)) continue
        if (options.onBatch) events.push(frame.event)
        this.#try(options.onEvent, frame.event)
      }
    }
    flush()
  }

  #fits({ names, topics = this.#surroundings.topics }: Options, { name, topic }: LiveEvent): boolean {
    return (names === undefined || names.includes(name)) && wants(topics, topic)
  }

  #try<Heard>(listener: ((heard: Heard) => void) | undefined, heard: Heard): void {
    try {
      const answer: unknown = listener?.(heard)
      // An async listener fails later, and is reported as well.
      if (answer instanceof Promise) answer.catch((cause: unknown) => this.#surroundings.failed(cause))
    } catch (cause) {
      this.#surroundings.failed(cause)
    }
  }
}

/** Listeners of one kind of thing that is not subscribed to: gaps, the connection. */
export class Watchers<Told extends Gap | object> {
  readonly #all = new Set<{ readonly run: (told: Told) => void }>()
  readonly #failed: (cause: unknown) => void

  constructor(failed: (cause: unknown) => void) {
    this.#failed = failed
  }

  add(run: (told: Told) => void): () => void {
    const watcher = { run }
    this.#all.add(watcher)
    return () => this.#all.delete(watcher)
  }

  tell(told: Told): void {
    for (const watcher of [...this.#all]) {
      if (!this.#all.has(watcher)) continue
      try {
        watcher.run(told)
      } catch (cause) {
        this.#failed(cause)
      }
    }
  }
}
