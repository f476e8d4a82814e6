/**
 * For the tests of components that hear events: a client without a network (`@tidings/react/testing`).
 */

import {
  type AnyEvent,
  type Client,
  type ClientOptions,
  type Connection,
  type Gap,
  type LiveEvent,
  type Subscription,
  type SubscriptionOptions,
  TidingsError,
} from '@tidings/client'

type Any = Record<string, unknown>
type Options = SubscriptionOptions<Any>

/**
 * A client without a network: the test says what comes. Give it to `LiveProvider` as `client`, and call it within `act`.
 *
 * ```tsx
 * const client = new FakeClient()
 * render(<LiveProvider client={client}><Shelf /></LiveProvider>)
 * act(() => client.open())
 * act(() => client.tell({ name: 'book.put', topic: 'book/1', data: { id: 1, title: 'Emma' } }))
 * ```
 */
export class FakeClient implements Client<Any> {
  readonly options: ClientOptions
  connection: Connection = {
    status: 'connecting',
    transport: undefined,
    sharing: 'none',
    cursor: undefined,
    attempt: 0,
    retryAt: undefined,
    error: undefined,
  }
  /** How often it has begun to connect. */
  connects: number = 0
  /** How often it was closed. */
  closes: number = 0
  /** How often somebody has subscribed. */
  subscribed: number = 0
  /** What those who listen now want. */
  readonly subscriptions: Set<SubscriptionOptions<Any>> = new Set()
  readonly #watchers = new Set<(connection: Connection) => void>()
  readonly #gaps = new Set<(gap: Gap) => void>()
  readonly #latest = new Map<string, LiveEvent>()
  #askers: { resolve: (cursor: string) => void; reject: (error: unknown) => void }[] = []
  #offset = 0
  #connected = false

  constructor(options: ClientOptions = {}) {
    this.options = options
  }

  /** The connection opens, at the place it has. */
  open(): void {
    const cursor = this.#cursor()
    this.#tell({ status: 'open', transport: 'sse', cursor, error: undefined })
    for (const asker of this.#askers.splice(0)) asker.resolve(cursor)
  }

  /** The connection is cut off, and coming back. */
  cut(): void {
    this.#tell({ status: 'waiting', transport: undefined })
  }

  /** Events come together, with their places where none is given. Topics and names decide who hears them, as on a hub. */
  tell(...events: (Partial<LiveEvent> & { name: string })[]): void {
    const full = events.map(event => {
      this.#offset += 1
      return { data: null, topic: '', cursor: this.#cursor(), time: 0, ...event } satisfies LiveEvent
    })
    for (const event of full) {
      this.#latest.set(event.name, event)
      this.#latest.set(`${event.name} ${event.topic}`, event)
    }
    for (const one of [...this.subscriptions]) {
      if (!this.subscriptions.has(one)) continue
      const wanted = full.filter(event => wants(one, event)) as AnyEvent<Any>[]
      if (wanted.length === 0) continue
      for (const event of wanted) one.onEvent?.(event)
      one.onBatch?.(wanted)
    }
    this.connection = { ...this.connection, cursor: this.#cursor() }
  }

  /** As a page that joins others is given what they heard before: no listener is told. */
  join(...events: readonly LiveEvent[]): void {
    for (const event of events) this.#latest.set(event.name, event)
    this.open()
  }

  /** Events were missed: all are told. */
  gap(reason: Gap['reason'] = 'trimmed'): void {
    const gap: Gap = { reason, asked: undefined, resumed: this.#cursor(), atMost: undefined }
    for (const one of [...this.subscriptions]) one.onGap?.(gap)
    for (const listener of this.#gaps) listener(gap)
  }

  onConnection(listener: (connection: Connection) => void): () => void {
    this.#watchers.add(listener)
    return () => this.#watchers.delete(listener)
  }

  on<Name extends string>(
    names: Name | readonly Name[],
    listener: (event: AnyEvent<Pick<Any, Name>>) => void,
    options: object = {},
  ): () => void {
    const subscription = this.subscribe<Name>({
      ...options,
      names: typeof names === 'string' ? [names] : names,
      onEvent: listener,
    })
    return () => subscription.unsubscribe()
  }

  subscribe<Name extends string>(options: SubscriptionOptions<Any, Name>): Subscription<Any> {
    let current = options as unknown as Options
    this.subscribed += 1
    this.subscriptions.add(current)
    this.#connect()
    const unsubscribe = () => void this.subscriptions.delete(current)
    options.signal?.addEventListener('abort', unsubscribe)
    return {
      unsubscribe,
      replace: next => {
        this.subscriptions.delete(current)
        current = next as unknown as Options
        this.subscriptions.add(current)
      },
    }
  }

  onGap(listener: (gap: Gap) => void): () => void {
    this.#gaps.add(listener)
    return () => this.#gaps.delete(listener)
  }

  latest<Name extends string>(name: Name, topic?: string): AnyEvent<Pick<Any, Name>> | undefined {
    return this.#latest.get(topic === undefined ? name : `${name} ${topic}`) as AnyEvent<Pick<Any, Name>> | undefined
  }

  position({ signal }: { readonly signal?: AbortSignal | undefined } = {}): Promise<string> {
    this.#connect()
    if (this.connection.status === 'open') return Promise.resolve(this.#cursor())
    if (this.connection.status === 'closed') return Promise.reject(new TidingsError('aborted', 'the client was closed'))
    return new Promise((resolve, reject) => {
      this.#askers.push({ resolve, reject })
      signal?.addEventListener('abort', () => reject(signal.reason))
    })
  }

  request(): Promise<Response> {
    return Promise.reject(new TidingsError('network', 'a fake client asks nobody'))
  }

  reconnect(): void {
    if (this.connection.status !== 'closed') return
    this.#tell({ status: 'connecting', loggedOut: undefined })
    this.#connect()
  }

  close(): void {
    this.#end(false)
  }

  logout(): void {
    this.#latest.clear()
    this.#end(true)
  }

  #end(loggedOut: boolean): void {
    this.closes += 1
    this.#connected = false
    this.#tell({ status: 'closed', loggedOut })
    for (const asker of this.#askers.splice(0)) asker.reject(new TidingsError('aborted', 'the client was closed'))
  }

  #cursor() {
    return `0000000a-${this.#offset}`
  }

  #connect() {
    if (this.#connected || this.connection.status === 'closed') return
    this.#connected = true
    this.connects += 1
  }

  #tell(change: Partial<Connection>) {
    this.connection = { ...this.connection, ...change }
    for (const watcher of [...this.#watchers]) watcher(this.connection)
  }
}

function wants(options: Options, event: LiveEvent): boolean {
  const { names, topics } = options
  return (names?.includes(event.name) ?? true) && (topics?.some(topic => covers(topic, event.topic)) ?? true)
}

/** `*` is one segment, `**` at the end one or more. */
function covers(pattern: string, topic: string): boolean {
  const [wanted, told] = [pattern.split('/'), topic.split('/')]
  const isOpen = wanted.at(-1) === '**'
  if (isOpen) wanted.pop()
  const fits = isOpen ? told.length > wanted.length : told.length === wanted.length
  return fits && wanted.every((segment, at) => segment === '*' || segment === told[at])
}
