// A hub that is asked about jobs, and answers as a test says.
import { TidingsError } from '../src/errors.js'
import type { Job, WatchClient } from '../src/jobs.js'
import type { Client, ClientOptions, Connection, Gap, LiveEvent, SubscriptionOptions } from '../src/types.js'
import { browser } from './transports.harness.js'

/** A job that is under way. */
export const document = (more: Partial<Job> = {}): Job => ({
  id: '42',
  kind: 'import',
  state: 'running',
  attempt: 1,
  attempts: 3,
  created: 1,
  updated: 2,
  revision: 2,
  ...more,
})

/** A client of a hub that answers as the test says. */
export function hub(options: Partial<ClientOptions> = {}) {
  const page = browser()
  const live = new FakeLive()
  const client: WatchClient = {
    options: { url: 'https://hub.example/', environment: page.environment, onError: () => {}, ...options },
    get connection() {
      return live.connection
    },
    onConnection: listener => live.onConnection(listener),
    position: options => live.position(options),
    subscribe: (options: SubscriptionOptions<Record<string, unknown>>) => live.subscribe(options),
    request: async (path, init) => {
      try {
        return await page.environment.fetch(new URL(path, 'https://hub.example/'), init)
      } catch (cause) {
        // As the client does.
        if (init?.signal?.aborted) throw new TidingsError('aborted', 'aborted')
        throw new TidingsError('network', 'the hub was not reached', { cause })
      }
    },
  }
  return { ...page, client, live }
}

export type Hub = ReturnType<typeof hub>

const BEFORE: Connection = {
  status: 'connecting',
  transport: undefined,
  sharing: 'none',
  cursor: undefined,
  attempt: 0,
  retryAt: undefined,
  error: undefined,
}

/** The client's connection, of which the test says how it is and what comes. */
class FakeLive {
  connection: Connection = BEFORE
  readonly subscriptions = new Set<SubscriptionOptions<Record<string, unknown>>>()
  readonly #watchers = new Set<() => void>()

  set(status: Connection['status']): void {
    this.#tell({ ...BEFORE, status })
  }

  /** Somebody closes the client, or logs out. */
  close(loggedOut: boolean): void {
    this.#tell({ ...BEFORE, status: 'closed', loggedOut })
  }

  #tell(connection: Connection): void {
    this.connection = connection
    for (const look of [...this.#watchers]) look()
  }

  /** An event of a job comes. */
  tell(name: string, data: unknown, topic = 'job/42'): void {
    const event: LiveEvent = { name, data, topic, cursor: undefined, time: undefined }
    for (const { topics, onEvent } of this.subscriptions) if (topics?.includes(topic)) onEvent?.(event)
  }

  gap(): void {
    const gap: Gap = { reason: 'trimmed', asked: undefined, resumed: '9f3c2a1b-9', atMost: undefined }
    for (const { onGap } of this.subscriptions) onGap?.(gap)
  }

  onConnection(listener: (connection: Connection) => void): () => void {
    const look = () => listener(this.connection)
    this.#watchers.add(look)
    return () => void this.#watchers.delete(look)
  }

  position({ signal }: Parameters<Client['position']>[0] = {}): Promise<string> {
    return new Promise((resolve, reject) => {
      const look = () => {
        const { status } = this.connection
        if (status === 'open') resolve('9f3c2a1b-1')
        else if (status === 'closed' || signal?.aborted) reject(new TidingsError('aborted', 'aborted'))
      }
      this.#watchers.add(look)
      signal?.addEventListener('abort', look)
      look()
    })
  }

  subscribe(options: SubscriptionOptions<Record<string, unknown>>) {
    this.subscriptions.add(options)
    return { unsubscribe: () => void this.subscriptions.delete(options) }
  }
}
