import type { Connection } from '@tidings/client'
import { type Ask, asker, withQuery } from './api.js'
import { isJob } from './joblist.js'
import type { Job, LoggedEvent, Stats, Whoami } from './model.js'
import { Store } from './store.js'
import { type Block, listen } from './stream.js'
import { type Came, Tail } from './tail.js'

/** Seconds of statistics that the charts show. */
export const SPAN = 300

/** How many events of the log the tail begins with. */
const PAST = 100

export type Live = Pick<Connection, 'status' | 'retryAt' | 'attempt' | 'error'>

/** This page's side of the hub, for one key: requests, the tail, and the statistics. */
export class Hub {
  readonly who: Whoami
  readonly ask: Ask
  readonly live: Store<Live> = new Store<Live>({ status: 'connecting', retryAt: undefined, attempt: 0, error: undefined })
  /** Grows each time the connection is there again: what was fetched before is fetched anew. */
  readonly comebacks: Store<number> = new Store(0)
  readonly stats: Store<readonly Stats[]> = new Store<readonly Stats[]>([])
  readonly tail: Tail
  #base: URL
  #key: string | undefined
  #jobListeners = new Set<(job: Job) => void>()
  #streams: { close(): void; now(): void }[] = []
  #closed = false

  constructor(base: URL, key: string | undefined, who: Whoami, refused: () => void) {
    this.who = who
    this.#base = base
    this.#key = key
    this.ask = asker(base, key, refused)
    this.tail = new Tail(run => setTimeout(() => requestAnimationFrame(run), 60))
    void this.#open()
  }

  /** Hears of each change of a job. */
  onJob(listener: (job: Job) => void): () => void {
    this.#jobListeners.add(listener)
    return () => {
      this.#jobListeners.delete(listener)
    }
  }

  /** Comes back now. */
  reconnect(): void {
    for (const stream of this.#streams) stream.now()
  }

  close(): void {
    this.#closed = true
    for (const stream of this.#streams) stream.close()
  }

  async #open(): Promise<void> {
    this.#streams.push(
      listen(new URL('v1/stats/events', this.#base), this.#key, { blocks: blocks => this.#count(blocks), state: () => {} }),
    )
    // The past first, and the stream from its end on: no event is missed between the two, and none is there twice.
    const past = await this.ask<{ events: LoggedEvent[] }>(`v1/log/events?limit=${PAST}`).catch(() => ({ events: [] }))
    if (this.#closed) return
    this.tail.add(past.events.toReversed())
    const url = new URL(withQuery('v1/events', { topic: '**', meta: 'true' }), this.#base)
    const handlers = { blocks: (blocks: readonly Block[]) => this.#hear(blocks), state: (live: Live) => this.#state(live) }
    this.#streams.push(listen(url, this.#key, handlers, past.events[0]?.cursor))
  }

  #state(live: Live): void {
    const was = this.live.value.status
    this.live.set(live)
    if (live.status === 'open' && was !== 'open') this.comebacks.set(this.comebacks.value + 1)
  }

  #count(blocks: readonly Block[]): void {
    let samples = this.stats.value
    for (const { event, data } of blocks) {
      if (event === 'tidings.history') samples = (JSON.parse(data) as { samples: Stats[] }).samples
      else if (event === 'tidings.stats') samples = [...samples, JSON.parse(data) as Stats]
    }
    this.stats.set(samples.slice(-SPAN - 1))
  }

  #hear(blocks: readonly Block[]): void {
    const came: Came[] = []
    for (const block of blocks) {
      if (block.event.startsWith('tidings.')) continue
      const data = parseData(block.data)
      if (block.event.startsWith('job.') && isJob(data)) for (const listener of this.#jobListeners) listener(data)
      came.push({ name: block.event, topic: block.topic ?? '', data, time: block.time ?? Date.now(), cursor: block.id })
    }
    if (came.length) this.tail.add(came)
  }
}

function parseData(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}
