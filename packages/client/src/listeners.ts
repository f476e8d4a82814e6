import { wants } from './filter.js'
import type { Batch } from './source.js'
import type { LiveEvent, Subscription, SubscriptionOptions } from './types.js'

/** What is known of the events' types here: nothing. The client's surface is typed. */
type Any = Record<string, unknown>
type Options = SubscriptionOptions<Any>

/** What a listener needs of the client around it. */
interface Surroundings {
  /** The topics of those that name none. */
  readonly topics: readonly string[] | undefined
  /** What is wanted has changed. */
  changed(): void
  /** A listener threw. */
  failed(cause: unknown): void
}

/** One who listens. */
interface Listener {
  options: Options
  active: boolean
  /** A state that was told is not told again. Weak: one that nobody else knows any more is forgotten. */
  readonly told: WeakSet<LiveEvent>
}

/** Whoever listens on this page, in the order in which they came. */
export class Listeners {
  readonly #surroundings: Surroundings
  readonly #all = new Set<Listener>()

  constructor(surroundings: Surroundings) {
    this.#surroundings = surroundings
  }

  /** What each of them wants. */
  *wanted(): Iterable<readonly string[] | undefined> {
    for (const { options } of this.#all) yield options.topics ?? this.#surroundings.topics
  }

  add(options: Options): Subscription<Any> {
    const listener: Listener = { options, active: true, told: new WeakSet() }
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
  tell(frames: Batch['frames']): void {
    const { failed } = this.#surroundings
    const told = [...this.#all].map(listener => ({ listener, options: listener.options, events: [] as LiveEvent[] }))
    const flush = () => {
      for (const { listener, options, events } of told) {
        if (events.length > 0 && listener.active) tell(options.onBatch, events.splice(0), failed)
      }
    }
    for (const frame of frames) {
      if (frame.type === 'gap') {
        // What came before the gap is drawn before anybody is told to fetch anew.
        flush()
        for (const { listener, options } of told) if (listener.active) tell(options.onGap, frame.gap, failed)
        continue
      }
      for (const { listener, options, events } of told) {
        if (!listener.active || !this.#fits(options, frame.event) || listener.told.has(frame.event)) continue
        listener.told.add(frame.event)
        if (options.onBatch) events.push(frame.event)
        tell(options.onEvent, frame.event, failed)
      }
    }
    flush()
  }

  #fits({ names, topics = this.#surroundings.topics }: Options, { name, topic }: LiveEvent): boolean {
    return (names === undefined || names.includes(name)) && wants(topics, topic)
  }
}

/** Tells one listener. What it throws, now or later, stops nobody else. */
export function tell<Told>(
  listener: ((told: Told) => void) | undefined,
  told: Told,
  failed: (cause: unknown) => void,
): void {
  try {
    const answer: unknown = listener?.(told)
    if (answer instanceof Promise) answer.catch(failed)
  } catch (cause) {
    failed(cause)
  }
}
