import { notifyManager, type QueryClient } from '@tanstack/react-query'
import type { Client, LiveEvent } from '@tidings/client'
import { Held } from '../held.js'
import { awaitPlace } from '../place.js'
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
  /**
   * Resolves when what is fetched from now on is kept up to date; or when that takes longer than 2 s, or the hub is away, and then it is
   * fetched anew once it is known from which place on all events come. Never after `stop`.
   */
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

/** The bridges of each client. */
const running = new WeakMap<Client, Set<RunningBridge>>()

class RunningBridge {
  readonly ready: Promise<void>
  readonly #client: Client
  readonly #queryClient: QueryClient
  readonly #map: () => LiveMap<object>
  readonly #refetches: Refetches
  readonly #held: Held<LiveEvent>
  readonly #ending = new AbortController()
  readonly #topics: string
  #becomeReady: () => void = () => {}
  #placed = false

  constructor(client: Client, queryClient: QueryClient, map: () => LiveMap<object>, options: BridgeOptions) {
    this.#client = client
    this.#queryClient = queryClient
    this.#map = map
    this.#topics = JSON.stringify(options.topics)
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
    if (!this.#placed) this.#askPlace()
    this.#join()
  }

  stop(): void {
    this.#ending.abort()
    this.#refetches.stop()
    // Not before this turn is over: until then its topics are wanted, and whoever begins instead of it misses nothing.
    queueMicrotask(() => running.get(this.#client)?.delete(this))
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
    notifyManager.batch(() => {
      for (const query of queriesOf(this.#queryClient, this.#rules())) this.#refetches.retry(query)
    })
  }

  #join() {
    const others = running.get(this.#client) ?? new Set()
    running.set(this.#client, others.add(this))
  }

  /** Whether another bridge hears these topics already, so that what is fetched from here on lacks nothing. */
  get #isHeard(): boolean {
    const { status, cursor } = this.#client.connection
    if (status !== 'open' || cursor === undefined) return false
    return [...(running.get(this.#client) ?? [])].some(other => other.#placed && other.#topics === this.#topics)
  }

  /**
   * Once the place is known, what was fetched before it, or is being fetched, may lack what happened in between. An open connection is no
   * such place: for topics that are new to it, it has to be exchanged first.
   */
  #askPlace() {
    if (this.#isHeard) this.#beFresh()
    else {
      const sink = { placed: () => this.#beFresh(), late: () => this.#becomeReady() }
      awaitPlace(this.#client, sink, this.#ending.signal)
    }
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
