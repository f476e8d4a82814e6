/** A browser with pages that share a connection, its worker, and a hub. */

import type { TidingsError } from '../../src/errors.js'
import { union } from '../../src/filter.js'
import { settle } from '../../src/settings.js'
import { shared } from '../../src/share/shared.js'
import { WorkerHost } from '../../src/share/worker-host.js'
import type { Batch, Source } from '../../src/source.js'
import type { ClientOptions, Connection, Environment, Gap, LiveEvent, Token } from '../../src/types.js'
import { Channels, type Port, portPair } from './channels.js'
import { Log } from './hub.js'
import { Locks } from './locks.js'
import { Scheduler } from './scheduler.js'

export interface BrowserOptions {
  readonly random?: () => number
  /** No SharedWorker, no locks, no BroadcastChannel. */
  readonly without?: readonly ('worker' | 'locks' | 'channel')[]
}

export class Browser {
  readonly scheduler: Scheduler
  readonly locks: Locks
  readonly channels: Channels
  readonly log: Log
  readonly pages: Page[] = []
  /** What all pages of the origin store. */
  readonly stored = new Map<string, string>()
  readonly random: () => number
  readonly #without: readonly string[]
  readonly #workers = new Map<string, { owner: string; host: WorkerHost }>()
  #names = 0

  constructor({ random = mulberry(1), without = [] }: BrowserOptions = {}) {
    this.random = random
    this.scheduler = new Scheduler(random)
    this.locks = new Locks(this.scheduler)
    this.channels = new Channels(this.scheduler)
    this.log = new Log(this.scheduler)
    this.#without = without
  }

  open(options: PageOptions = {}): Page {
    const page = new Page(this, `page${++this.#names}`, options)
    this.pages.push(page)
    return page
  }

  /** A page is gone without a word. */
  crash(owner: string): void {
    this.scheduler.kill(owner)
    this.locks.release(owner)
    this.channels.release(owner)
    for (const link of this.log.links) if (link.owner === owner) this.log.links.delete(link)
    for (const [name, worker] of this.#workers) if (worker.owner === owner) this.#workers.delete(name)
    const at = this.pages.findIndex(page => page.name === owner)
    if (at >= 0) this.pages.splice(at, 1)
  }

  get storage(): Pick<Storage, 'getItem' | 'setItem'> {
    return {
      getItem: key => this.stored.get(key) ?? null,
      setItem: (key, value) => void this.stored.set(key, value),
    }
  }

  /** How many pages the workers could speak to. */
  get ports(): number {
    return [...this.#workers.values()].reduce((pages, { host }) => pages + host.pages, 0)
  }

  get workers(): string[] {
    return [...this.#workers.values()].map(({ owner }) => owner)
  }

  environment(owner: string, replaced: Partial<Environment> = {}): Environment {
    const has = (what: string) => !this.#without.includes(what)
    return {
      fetch: this.log.fetch(owner),
      WebSocket: undefined,
      SharedWorker: has('worker') ? (class {} as unknown as typeof SharedWorker) : undefined,
      BroadcastChannel: has('channel') ? this.channels.of(owner) : undefined,
      locks: has('locks') ? this.locks.of(owner) : undefined,
      now: () => this.scheduler.now,
      random: this.random,
      setTimeout: (run, ms) => this.scheduler.setTimeout(owner, run, ms),
      clearTimeout: timer => this.scheduler.clearTimeout(timer),
      window: undefined,
      document: undefined,
      location: 'https://app.example/books',
      ...replaced,
    }
  }

  worker(page: string, name: string): SharedWorker {
    const found = this.#workers.get(name) ?? this.#startWorker(name)
    const [near, far] = portPair(this.scheduler, page, found.owner, `port ${page} ${++this.#names}`)
    this.scheduler.post(found.owner, `port ${page} ${this.#names}`, () =>
      found.host.connect(far as unknown as MessagePort),
    )
    return { port: near, onerror: null } as unknown as SharedWorker & { port: Port }
  }

  #startWorker(name: string) {
    const owner = `worker${++this.#names}`
    const environment = this.environment(owner)
    const worker = { owner, host: new WorkerHost(this.log.open(owner), environment) }
    this.#workers.set(name, worker)
    return worker
  }
}

export interface PageOptions extends ClientOptions {
  readonly want?: readonly string[] | undefined
  readonly credential?: (refresh: boolean) => Promise<Token | undefined>
  readonly hidden?: boolean
}

/** A page with one source, and what it was told. */
export class Page {
  readonly name: string
  readonly source: Source
  readonly events: LiveEvent[] = []
  readonly present: LiveEvent[] = []
  readonly gaps: Gap[] = []
  readonly batches: Batch[] = []
  readonly errors: TidingsError[] = []
  readonly window: EventTarget
  readonly document: EventTarget & { visibilityState: DocumentVisibilityState }
  topics: readonly string[] | undefined
  /** From where on it was promised which topics. */
  readonly covered: { readonly topics: readonly string[] | undefined; readonly from: string | undefined }[] = []
  /** It has wanted other topics than at first. */
  widened = false
  #promised = false
  connection: Connection | undefined
  loggedOut = false
  cursor: string | undefined
  /** The first place it was told. */
  #start: string | undefined
  readonly #browser: Browser

  constructor(browser: Browser, name: string, options: PageOptions) {
    this.#browser = browser
    this.name = name
    this.topics = options.want
    this.#start = options.cursor
    this.window = Object.assign(new EventTarget(), { localStorage: browser.storage })
    const visibilityState: DocumentVisibilityState = options.hidden ? 'hidden' : 'visible'
    this.document = Object.assign(new EventTarget(), { visibilityState })
    const environment = browser.environment(name, {
      window: this.window,
      document: this.document,
      ...options.environment,
    })
    const clientOptions: ClientOptions = {
      ...(environment.SharedWorker && { worker: (worker: string) => browser.worker(name, worker) }),
      ...options,
    }
    const alive = <T extends unknown[]>(run: (...args: T) => void) => {
      return (...args: T) => {
        if (!browser.scheduler.isDead(name)) run(...args)
      }
    }
    this.source = shared(browser.log.open(name))(
      settle(clientOptions, environment),
      {
        batch: alive(batch => this.#batch(batch)),
        connection: alive(connection => {
          this.connection = connection
          this.#promise(connection.cursor)
        }),
        error: alive(error => {
          this.errors.push(error)
        }),
        token: async refresh => options.credential?.(refresh),
        loggedOut: () => {
          this.loggedOut = true
        },
      },
      environment,
      clientOptions,
    )
    this.source.want(options.want)
  }

  /** What of the events was told, by their numbers. */
  get told(): unknown[] {
    return this.events.map(event => event.data)
  }

  close(): void {
    this.source.close(false)
    this.#browser.crash(this.name)
  }

  crash(): void {
    this.#browser.crash(this.name)
  }

  freeze(): void {
    this.#browser.scheduler.freeze(this.name, true)
  }

  thaw(): void {
    this.#browser.scheduler.freeze(this.name, false)
  }

  /** Wants these too. */
  widen(topics: readonly string[] | undefined): void {
    if (this.#browser.scheduler.isFrozen(this.name)) return
    this.topics = union([this.topics, topics])
    this.widened = true
    this.#promised = false
    // Some of what lies before may have been read for the old ones alone.
    this.#start = undefined
    this.source.want(this.topics)
    // It has these already.
    if (this.connection?.status === 'open') this.#promised = true
  }

  /** Into the back/forward cache. */
  putAway(): void {
    this.window.dispatchEvent(Object.assign(new Event('pagehide'), { persisted: true }))
    this.freeze()
  }

  bringBack(): void {
    this.thaw()
    this.window.dispatchEvent(Object.assign(new Event('pageshow'), { persisted: true }))
  }

  see(visible: boolean): void {
    this.document.visibilityState = visible ? 'visible' : 'hidden'
    this.source.visible(visible)
  }

  /** Open, and with a place: from there on nothing may be missing. */
  #promise(cursor: string | undefined): void {
    if (this.connection?.status !== 'open' || this.#promised || cursor === undefined) return
    this.#promised = true
    this.covered.push({ topics: this.topics, from: this.#start ?? cursor })
    this.#start = undefined
  }

  #batch(batch: Batch): void {
    this.batches.push(batch)
    if (this.covered.length === 0 && !this.widened) this.#start ??= batch.from ?? batch.to
    this.#promise(batch.from ?? batch.to)
    this.present.push(...(batch.present ?? []))
    for (const frame of batch.frames) {
      if (frame.type === 'event') this.events.push(frame.event)
      else this.gaps.push(frame.gap)
    }
    this.cursor = batch.to
  }
}

/** Random numbers that are the same in each run. */
export function mulberry(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}
