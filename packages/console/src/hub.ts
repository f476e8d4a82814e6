import { type Client, type Connection, createClient, type Gap, type LiveEvent } from '@tidings/client'
import { EventSource } from '@tidings/client/event-source'
import { type Ask, asker, withQuery } from './api.js'
import { cursorAfter, placeBehind } from './cursor.js'
import { afterGaps, type Reread } from './gap.js'
import { isJob } from './joblist.js'
import type { Job, LoggedEvent, LogInfo, ProfileInfo, Stats, Whoami } from './model.js'
import { Pulse } from './pulse.js'
import { Store } from './store.js'
import { type Came, markOf, Tail } from './tail.js'

/** Seconds of statistics that the charts show. */
export const SPAN = 300

/** How many events of the log the tail begins with. */
const PAST = 100

/** How many events of the log are looked through for what was missed: as many as it gives for one request. */
const MISSED = 500

/** ms without a figure after which the stream of figures is dead: they come each second. */
const SILENCE = 10_000

/** ms in which what comes is one drawing: ten a second are as many as can be read. */
const DRAW = 60

const BEFORE: Connection = {
  status: 'connecting',
  transport: undefined,
  sharing: 'none',
  cursor: undefined,
  attempt: 0,
  retryAt: undefined,
  error: undefined,
}

/** This page's side of the hub, for one key: requests, the tail, and the statistics. */
export class Hub {
  readonly who: Whoami
  readonly ask: Ask
  readonly live: Store<Connection> = new Store(BEFORE)
  /** Grows each time the connection is there again: what was fetched before is fetched anew. */
  readonly comebacks: Store<number> = new Store(0)
  readonly stats: Store<readonly Stats[]> = new Store<readonly Stats[]>([])
  /** When the newest of them came, by the clock of this page. */
  counted = Date.now()
  readonly tail: Tail = new Tail(run => setTimeout(() => requestAnimationFrame(run), DRAW))
  /** What the topics view has seen, also while another is shown. */
  readonly pulse: Pulse = new Pulse()
  readonly #base: URL
  readonly #key: string | undefined
  readonly #jobListeners = new Set<(job: Job) => void>()
  /** The names of profiles by the first part of the topics that are theirs. */
  #namespaces: ReadonlyMap<string, string> = new Map()
  #client: Client | undefined
  #figures: EventSource | undefined
  #closed = false
  /** While the log is read after gaps, what comes is put aside: it belongs behind what is read. */
  #reading: { readonly gaps: readonly Gap[]; readonly aside: Came[] } | undefined

  /** `refused` is called when the hub takes the key no more, with what it says. */
  constructor(base: URL, key: string | undefined, who: Whoami, refused: (why: string) => void) {
    this.who = who
    this.#base = base
    this.#key = key
    // A late answer to what an earlier key asked says nothing about the present one.
    this.ask = asker(base, key, why => {
      if (!this.#closed) refused(why)
    })
    this.#count()
    void this.#listen()
  }

  /** Hears of each change of a job, of whatever profile. */
  onJob(listener: (job: Job) => void): () => void {
    this.#jobListeners.add(listener)
    return () => {
      this.#jobListeners.delete(listener)
    }
  }

  /** Comes back now. */
  reconnect(): void {
    this.#client?.reconnect()
    if (this.#figures?.readyState !== EventSource.OPEN) this.#count()
  }

  close(): void {
    this.#closed = true
    this.#client?.close()
    this.#figures?.close()
  }

  /** The figures of each second, from five minutes ago on. */
  #count(): void {
    this.#figures?.close()
    if (this.#closed) return
    const url = new URL('v1/stats/events', this.#base)
    this.#figures = new EventSource(url, { token: this.#key, silence: SILENCE, backoff: { base: 1_000, cap: 5_000 } })
    this.#figures.addEventListener('tidings.history', (event: MessageEvent) => {
      this.counted = Date.now()
      this.stats.set((JSON.parse(event.data) as { samples: Stats[] }).samples)
    })
    this.#figures.addEventListener('tidings.stats', (event: MessageEvent) => {
      this.counted = Date.now()
      this.stats.set([...this.stats.value, JSON.parse(event.data) as Stats].slice(-SPAN - 1))
    })
  }

  /** Everything that happens. The past first, and the client from its end on: nothing is missed, and nothing is there twice. */
  async #listen(): Promise<void> {
    const [log, { profiles }] = await Promise.all([
      this.ask<LogInfo>('v1/log').catch(() => undefined),
      this.ask<{ profiles: ProfileInfo[] }>('v1/profiles').catch(() => ({ profiles: [] })),
    ])
    const past = await this.ask<{ events: LoggedEvent[] }>(`v1/log/events?limit=${PAST}`, { exact: true }).catch(
      () => ({ events: [] }),
    )
    if (this.#closed) return
    this.#namespaces = new Map(profiles.flatMap(({ namespace, name }) => (namespace ? [[namespace, name]] : [])))
    this.tail.add(past.events.toReversed())
    this.#client = createClient({
      url: this.#base,
      topics: ['**'],
      cursor: placeBehind(past.events, log),
      token: this.#key,
      // Each tab looks by itself, so that its own connection is what it shows.
      share: 'none',
      backoff: { cap: 10_000 },
      onError: () => {},
    })
    this.#client.onConnection(connection => this.#state(connection))
    this.#client.subscribe({ onBatch: events => this.#hear(events), onGap: gap => void this.#reread(gap) })
  }

  #state(connection: Connection): void {
    const was = this.live.value.status
    this.live.set(connection)
    // Not every end says that the key is no good any more, and one that ends streams may leave the key good: the hub knows.
    if (connection.status === 'closed' && !this.#closed) this.ask('v1/whoami').catch(() => {})
    if (connection.status !== 'open' || was === 'open') return
    this.comebacks.set(this.comebacks.value + 1)
    if (this.#figures?.readyState === EventSource.CLOSED) this.#count()
  }

  #hear(events: readonly LiveEvent[]): void {
    const came = events.map(event => ({ ...event, ...this.#place(event.topic) }))
    if (this.#jobListeners.size > 0) {
      for (const { name, data } of came) {
        if (name.startsWith('job.') && isJob(data)) for (const listener of this.#jobListeners) listener(data)
      }
    }
    if (this.#reading) this.#reading.aside.push(...came)
    else this.tail.add(came)
  }

  /** Events are missing: says so where they would be, and takes from the log what it has of them. */
  async #reread(gap: Gap): Promise<void> {
    const { gaps, aside } = this.#reading ?? { gaps: [], aside: [] }
    const reading = { gaps: [...gaps, gap], aside }
    this.#reading = reading
    const before = cursorAfter(gap.resumed)
    // After a trimmed past come the oldest that is kept and all behind it: there is nothing to read.
    const logged =
      gap.reason === 'trimmed' || before === undefined
        ? undefined
        : await this.ask<Reread>(withQuery('v1/log/events', { before, limit: MISSED }), { exact: true }).catch(
            (error: Error) => error,
          )
    // Another gap came: what is read for that one has this too.
    if (this.#reading !== reading) return
    this.#reading = undefined
    const known = this.tail.marks()
    this.tail.add(afterGaps(reading.gaps, logged, event => known.has(markOf(event)), Date.now()))
    this.tail.add(aside)
  }

  /** A topic in the words of its profile, as the hub's other answers say it. */
  #place(topic: string): { topic: string; profile: string } {
    const end = topic.indexOf('/')
    const profile = end > 0 ? this.#namespaces.get(topic.slice(0, end)) : undefined
    return profile === undefined ? { topic, profile: 'default' } : { topic: topic.slice(end + 1), profile }
  }
}
