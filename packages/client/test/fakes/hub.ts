/** A hub as the shared connection sees it: a log, connections that read on in it, and polls. */

import { matches, wants } from '../../src/filter.js'
import type { Batch, OpenSource, Settings, Source, SourceSink } from '../../src/source.js'
import type { Connection, LiveEvent } from '../../src/types.js'
import type { Scheduler } from './scheduler.js'

const EPOCH = '0000000a'

/** The place after the first `offset` events. */
export function place(offset: number): string {
  return `${EPOCH}-${offset}`
}

export class Log {
  readonly events: LiveEvent[] = []
  readonly links = new Set<FakeLink>()
  readonly #scheduler: Scheduler
  polls = 0
  /** The names of which the newest on each topic is told to whoever comes. */
  readonly retained = new Set<string>()
  /** The status of the answer to polls. */
  pollStatus = 200
  /** How many polls are held for ever. */
  pollsHeld = 0
  /** How many connections were ever opened. */
  opened = 0

  constructor(scheduler: Scheduler) {
    this.#scheduler = scheduler
  }

  publish(topic: string, data: unknown = this.events.length + 1, name = 'changed'): LiveEvent {
    const event: LiveEvent = { name, data, topic, cursor: place(this.events.length + 1), time: this.#scheduler.now }
    this.events.push(event)
    for (const link of this.links) link.pump()
    return event
  }

  /** Connections that are there now. */
  get live(): FakeLink[] {
    return [...this.links].filter(link => !this.#scheduler.isDead(link.owner))
  }

  /** What a page opens its connection with. */
  open(owner: string): OpenSource {
    return (settings, sink) => {
      const link = new FakeLink(this, this.#scheduler, owner, settings, sink)
      this.links.add(link)
      return link
    }
  }

  /** Polls of a page (protocol §4), three events at a time. */
  fetch(owner: string): typeof fetch {
    return (input, init) =>
      new Promise((resolve, reject) => {
        this.polls += 1
        if (this.polls <= this.pollsHeld) {
          init?.signal?.addEventListener('abort', () => reject(init.signal?.reason))
          return
        }
        const query = new URL(String(input)).searchParams
        this.#scheduler.post(owner, 'network', () => {
          if (this.pollStatus !== 200) {
            resolve(new Response('', { status: this.pollStatus }))
            return
          }
          const at = query.get('cursor')
          const asked = query.getAll('topic')
          const topics = asked.length > 0 ? asked : undefined
          const to = this.events.length
          const answer = at === null ? { events: this.states(to, topics), to } : this.read(offsetOf(at), topics, 3)
          resolve(Response.json({ events: answer.events, cursor: place(answer.to) }))
        })
      })
  }

  /** The newest of each retained name and topic among the first `until` events, as it is told at an opening. */
  states(until: number, topics: readonly string[] | undefined): LiveEvent[] {
    const newest = new Map<string, LiveEvent>()
    for (const event of this.events.slice(0, until)) {
      const { name, topic } = event
      if (this.retained.has(name) && wants(topics, topic))
        newest.set(`${name} ${topic}`, { ...event, cursor: undefined })
    }
    return [...newest.values()]
  }

  read(after: number, topics: readonly string[] | undefined, most: number): { events: LiveEvent[]; to: number } {
    const events: LiveEvent[] = []
    let to = after
    for (const event of this.events.slice(after)) {
      if (events.length >= most) break
      to += 1
      if (wants(topics, event.topic)) events.push(event)
    }
    return { events, to }
  }
}

function offsetOf(cursor: string): number {
  return cursor === 'earliest' ? 0 : Number(cursor.split('-')[1])
}

/** As the page's own connection: wider topics take a while, and are had from the place of the next connection on. */
export class FakeLink implements Source {
  readonly owner: string
  readonly settings: Settings
  readonly sink: SourceSink
  isVisible = true
  wakes = 0
  /** Whether the last one may wait for a `Retry-After`. */
  isPatient: boolean | undefined
  closed = false
  status: Connection['status'] | undefined
  wanted: readonly string[] | undefined
  readonly #log: Log
  readonly #scheduler: Scheduler
  #topics: readonly string[] | undefined
  #at: number | undefined
  #pumping = false
  #begun = false

  constructor(log: Log, scheduler: Scheduler, owner: string, settings: Settings, sink: SourceSink) {
    this.#log = log
    this.#scheduler = scheduler
    this.owner = owner
    this.settings = settings
    this.sink = sink
    if (settings.cursor !== undefined) this.#at = offsetOf(settings.cursor)
  }

  want(topics: readonly string[] | undefined): void {
    this.wanted = topics
    if (!this.#begun) {
      this.#begun = true
      this.#later(() => this.connect())
      return
    }
    const covered = this.#topics === undefined || topics?.every(topic => this.#topics?.some(old => matches(old, topic)))
    if (!covered) this.#later(() => this.connect())
  }

  wake(patient = false): void {
    this.wakes += 1
    this.isPatient = patient
    if (this.status === 'closed') this.connect()
  }

  visible(visible: boolean): void {
    this.isVisible = visible
  }

  close(): void {
    this.closed = true
    this.#log.links.delete(this)
  }

  connect(): void {
    this.#log.opened += 1
    this.#tell('connecting')
    this.#topics = this.wanted
    this.#later(() => {
      if (this.status !== 'connecting') return
      this.#tell('open')
      const from = this.#at
      this.#at ??= this.#log.events.length
      const states = this.#log.states(this.#at, this.#topics).map(event => ({ type: 'event', event }) as const)
      if (from === undefined) this.#batch({ from: undefined, to: place(this.#at), frames: states })
      else if (states.length > 0) this.#batch({ from: place(from), to: place(from), frames: states })
      this.pump()
    })
  }

  fail(error: Connection['error'], status: 'waiting' | 'closed' = 'waiting', retryIn?: number): void {
    this.#tell(status, error, retryIn === undefined ? undefined : this.#scheduler.now + retryIn)
  }

  pump(): void {
    if (this.#pumping || this.status !== 'open') return
    this.#pumping = true
    this.#later(() => {
      this.#pumping = false
      if (this.status !== 'open' || this.#at === undefined) return
      const before = this.#at
      const { events, to } = this.#log.read(before, this.#topics, 2)
      if (to === before) return
      this.#at = to
      this.#batch({
        from: place(before),
        to: place(to),
        frames: events.map(event => ({ type: 'event', event }) as const),
      })
      this.pump()
    })
  }

  #batch(batch: Batch): void {
    if (!this.closed) this.sink.batch(batch)
  }

  #later(run: () => void): void {
    this.#scheduler.post(this.owner, `link ${this.settings.cursor}`, () => {
      if (!this.closed) run()
    })
  }

  #tell(status: Connection['status'], error?: Connection['error'], retryAt?: number): void {
    this.status = status
    this.sink.connection({
      status,
      transport: 'sse',
      sharing: 'none',
      cursor: this.#at === undefined ? undefined : place(this.#at),
      attempt: 0,
      retryAt,
      error,
    })
  }
}
