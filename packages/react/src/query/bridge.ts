import { notifyManager, type QueryClient } from '@tanstack/react-query'
import type { Client, LiveEvent } from '@tidings/client'
import { Held } from '../held.js'
import { report } from '../report.js'
import { type AnyRule, applyEvents, queriesOf } from './changes.js'
import { Refetches } from './refetches.js'
import type { LiveMap } from './rule.js'

export interface BridgeOptions {
  /** Topics or patterns; those of the client if left out. */
  readonly topics?: readonly string[] | undefined
  /** No query is fetched more often than once in so many ms because of events. 250 if left out. */
  readonly throttle?: number | undefined
  /** The place that the data came with which is cached already. It is up to date then; the client's `cursor` if left out. */
  readonly cursor?: string | undefined
  /** Begin holding events back ({@link Bridge.pause}). */
  readonly paused?: boolean | undefined
  /** How many events are held back at most while paused. After more, all is fetched anew. 10,000 if left out. */
  readonly hold?: number | undefined
}

/** Events flow into the cache until this is called. */
export interface Bridge {
  (): void
  /** The same. */
  readonly stop: () => void
  /** Holds events back: what is on the page stays as it is, and in its order. */
  readonly pause: () => void
  /** Applies what was held back, in order, and goes on. */
  readonly resume: () => void
  /** Resolves when what is fetched from now on is kept up to date. Never after `stop`. */
  readonly ready: Promise<void>
}

/**
 * Keeps the cache of a QueryClient up to date by events.
 *
 * What was fetched before the place was known, from which on all events come, is fetched anew; so is everything that the
 * map speaks of after a gap.
 */
export function bridge<Events extends object>(
  client: Client<Events>,
  queryClient: QueryClient,
  map: LiveMap<Events>,
  options: BridgeOptions = {},
): Bridge {
  return startBridge(client as unknown as Client, queryClient, () => map as LiveMap<object>, options)
}

/** The same, with a map that may be another one each time it is asked for. */
export function startBridge(
  client: Client,
  queryClient: QueryClient,
  map: () => LiveMap<object>,
  options: BridgeOptions,
): Bridge {
  const running = new RunningBridge(client, queryClient, map, options)
  const stop = () => running.stop()
  return Object.assign(() => stop(), {
    stop,
    pause: () => running.pause(),
    resume: () => running.resume(),
    ready: running.ready,
  })
}

class RunningBridge {
  readonly ready: Promise<void>
  readonly #client: Client
  readonly #queryClient: QueryClient
  readonly #map: () => LiveMap<object>
  readonly #refetches: Refetches
  readonly #held: Held<LiveEvent>
  readonly #ending = new AbortController()
  #becomeReady: () => void = () => {}
  #placed = false
  #asking = false

  constructor(client: Client, queryClient: QueryClient, map: () => LiveMap<object>, options: BridgeOptions) {
    this.#client = client
    this.#queryClient = queryClient
    this.#map = map
    this.#refetches = new Refetches(queryClient, options.throttle ?? 250)
    this.#held = new Held(options.hold ?? 10_000, {
      events: events => this.#apply(events),
      gap: () => this.#invalidateAll(),
    })
    if (options.paused === true) this.#held.pause()
    this.ready = new Promise(resolve => {
      this.#becomeReady = resolve
    })
    const cursor = options.cursor ?? client.options.cursor
    // A client that has gone on from there has told events that this bridge has not heard.
    if (cursor !== undefined && (client.connection.cursor ?? cursor) === cursor) this.#becomePlaced()
    this.#listen(options.topics)
    const { connection } = client
    // All that comes after a place that is known is heard from here on. So what is fetched from here on lacks nothing.
    if (!this.#placed && connection.status === 'open' && connection.cursor !== undefined) this.#beFresh()
    else this.#askPlace()
  }

  stop(): void {
    this.#ending.abort()
    this.#refetches.stop()
  }

  pause(): void {
    this.#held.pause()
  }

  resume(): void {
    if (!this.#ending.signal.aborted) this.#held.resume()
  }

  #listen(topics: readonly string[] | undefined) {
    const { signal } = this.#ending
    this.#client.subscribe({
      names: Object.keys(this.#map()),
      topics,
      signal,
      onBatch: events => this.#held.add(events),
      onGap: gap => this.#held.gap(gap),
    })
    let { status } = this.#client.connection
    const end = this.#client.onConnection(connection => {
      const opened = connection.status === 'open' && status !== 'open'
      status = connection.status
      if (opened) this.#opened()
    })
    signal.addEventListener('abort', end, { once: true })
  }

  #opened() {
    this.#askPlace()
    notifyManager.batch(() => {
      for (const query of queriesOf(this.#queryClient, this.#rules())) this.#refetches.retry(query)
    })
  }

  /** Once the place is known, what was fetched before it, or is being fetched, may lack what happened in between. */
  #askPlace() {
    const { signal } = this.#ending
    if (this.#placed || this.#asking) return
    this.#asking = true
    this.#client.position({ signal }).then(
      () => {
        this.#asking = false
        if (!signal.aborted) this.#beFresh()
      },
      () => {
        // Refused for good, which the client reports itself. It is asked again when the client is connected again.
        this.#asking = false
      },
    )
  }

  #beFresh() {
    this.#invalidateAll()
    this.#becomePlaced()
  }

  #becomePlaced() {
    this.#placed = true
    this.#becomeReady()
  }

  #apply(events: readonly LiveEvent[]) {
    if (this.#ending.signal.aborted) return
    const rules = new Map<string, readonly AnyRule[]>()
    const map = this.#map()
    const rulesOf = (name: string) => {
      let found = rules.get(name)
      if (found === undefined) {
        found = listed(map, name)
        rules.set(name, found)
      }
      return found
    }
    for (const error of applyEvents(this.#queryClient, this.#refetches, events, rulesOf)) {
      report(this.#client, 'a rule of the query bridge threw; what it is about is fetched anew', error)
    }
  }

  #invalidateAll() {
    if (this.#ending.signal.aborted) return
    notifyManager.batch(() => {
      for (const query of queriesOf(this.#queryClient, this.#rules())) this.#refetches.invalidate(query)
    })
  }

  #rules(): readonly AnyRule[] {
    const map = this.#map()
    return Object.keys(map).flatMap(name => listed(map, name))
  }
}

function listed(map: LiveMap<object>, name: string): readonly AnyRule[] {
  const rules = (map as { readonly [name: string]: AnyRule | readonly AnyRule[] | undefined })[name]
  if (rules === undefined) return []
  return Array.isArray(rules) ? rules : [rules as AnyRule]
}
