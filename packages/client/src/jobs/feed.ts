import { reconnectDelay } from '../backoff.js'
import { environmentOf } from '../environment.js'
import { TidingsError } from '../errors.js'
import { pause } from '../transports/pause.js'
import type { Client, Environment } from '../types.js'
import { answerOf, initOf, type JobClient, pathOf } from './ask.js'
import { healing, heals, report } from './report.js'

/** How often a job is asked about where nothing tells of it, in ms: 30 times a minute. */
export const EVERY = 2_000

/** What is needed of a client to watch a job: also its connection, and any {@link Client} has that. */
export interface WatchClient extends JobClient, Pick<Client, 'connection' | 'onConnection' | 'position'> {
  subscribe(options: never): { unsubscribe(): void }
}

/** One who watches. */
export interface Watcher {
  document(document: unknown): void
  item(told: unknown): void
  /** It can't be watched, and nothing comes after this. */
  failed(error: unknown): void
}

/**
 * What comes of one job, for all who watch it here. Begins with the first of them, and ends with the last, or when its client is closed:
 * nothing is asked with a credential that was put away.
 */
export abstract class Feed {
  protected readonly client: WatchClient
  protected readonly id: string
  protected readonly token: string | undefined
  protected readonly environment: Environment
  readonly #over = new AbortController()
  readonly #watchers = new Set<Watcher>()
  #last: unknown

  constructor(client: WatchClient, id: string, token: string | undefined) {
    this.client = client
    this.id = id
    this.token = token
    this.environment = environmentOf(client.options.environment)
    const unwatch = client.onConnection(({ loggedOut, error: cause }) => {
      // A connection that ended for a reason of its own is asked around.
      if (loggedOut !== undefined) this.fail(new TidingsError('aborted', 'the client was closed', { cause }))
    })
    this.over.addEventListener('abort', unwatch)
  }

  /** Aborted with the last who watched. */
  get over(): AbortSignal {
    return this.#over.signal
  }

  /** Begins. May throw for options that can't be meant. */
  abstract start(): void

  add(watcher: Watcher): void {
    this.#watchers.add(watcher)
    if (this.#last !== undefined) watcher.document(this.#last)
  }

  /** Returns whether nobody is left. */
  remove(watcher: Watcher): boolean {
    this.#watchers.delete(watcher)
    if (this.#watchers.size > 0) return false
    this.#over.abort()
    return true
  }

  protected document(document: unknown): void {
    if (this.over.aborted) return
    this.#last = document
    for (const watcher of [...this.#watchers]) watcher.document(document)
  }

  protected item(told: unknown): void {
    for (const watcher of [...this.#watchers]) watcher.item(told)
  }

  protected fail(error: unknown): void {
    if (this.over.aborted) return
    for (const watcher of [...this.#watchers]) watcher.failed(error)
  }

  /** Tells of a failure that heals. */
  protected complain(error: TidingsError): void {
    if (!this.over.aborted && error.code !== 'aborted') report(this.client, healing(error))
  }

  /** Asks what the job is now, until there is an answer. */
  protected async ask(): Promise<void> {
    const { random } = this.environment
    for (let failures = 0; !this.over.aborted; ) {
      let wait = EVERY
      try {
        const init = initOf({ cache: 'no-store' }, { token: this.token, signal: this.over })
        const answer = await answerOf(
          this.client,
          await this.client.request(pathOf(this.client, this.id), init),
          this.over,
        )
        if (!('error' in answer)) {
          this.document(answer.body)
          return
        }
        if (!answer.error.retrying) throw answer.error
        wait = Math.max(EVERY, answer.least)
        this.complain(answer.error)
      } catch (error) {
        if (!heals(error)) {
          this.fail(error)
          return
        }
        wait = Math.max(EVERY, reconnectDelay(failures++, undefined, random))
        this.complain(error)
      }
      await pause(wait, this.environment, this.over)
    }
  }

  /** Asks again and again. */
  protected async poll(): Promise<void> {
    while (!this.over.aborted) {
      await this.ask()
      if (!this.over.aborted) await pause(EVERY, this.environment, this.over)
    }
  }
}

/** The feeds that there are, by client and then by job and credential. */
const feeds = new WeakMap<WatchClient, Map<string, Feed>>()

/** Watches by the feed that there is, or by a new one; returns what ends that. */
export function join(client: WatchClient, key: string, make: () => Feed, watcher: Watcher): () => void {
  const all = feeds.get(client) ?? new Map<string, Feed>()
  feeds.set(client, all)
  const found = all.get(key)
  const feed = found ?? make()
  all.set(key, feed)
  feed.add(watcher)
  const leave = () => {
    if (feed.remove(watcher) && all.get(key) === feed) all.delete(key)
  }
  try {
    if (!found) feed.start()
  } catch (error) {
    leave()
    throw error
  }
  return leave
}
