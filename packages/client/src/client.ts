import { environmentOf } from './environment.js'
import { TidingsError } from './errors.js'
import { failure, reasonOf } from './failure.js'
import { union } from './filter.js'
import { isEqual, Latest } from './latest.js'
import { watchPage } from './lifecycle.js'
import { Listeners, tell } from './listeners.js'
import { openSource, shares } from './open.js'
import { settle } from './settings.js'
import type { Batch, OpenSource, Source, SourceSink } from './source.js'
import { Tokens } from './token.js'
import type {
  AnyEvent,
  Client,
  ClientOptions,
  Connection,
  Environment,
  Gap,
  Subscription,
  SubscriptionOptions,
} from './types.js'

/** Makes a page's side of a hub. Nothing is asked before the first subscription. Throws a {@link TidingsError} for options that can't be meant. */
export function createClient<Events extends object = Record<string, unknown>>(
  options: ClientOptions = {},
): Client<Events> {
  return clientOver<Events>(options, openSource)
}

/** A client over any source. */
export function clientOver<Events extends object>(options: ClientOptions, open: OpenSource): Client<Events> {
  // Which names there are, and what their data is, is known to the compiler only.
  return new LiveClient(options, open) as unknown as Client<Events>
}

type Any = Record<string, unknown>

class LiveClient implements Client<Any> {
  readonly options: ClientOptions
  readonly #environment: Environment
  readonly #openSource: OpenSource
  readonly #tokens: Tokens
  readonly #latest = new Latest()
  /** Those who wait for a place look again at each change. */
  readonly #askers = new Set<() => void>()
  readonly #listeners: Listeners
  readonly #watchers = new Set<{ readonly listener: (connection: Connection) => void }>()

  /** As whoever looks is told. */
  #connection: Connection
  /** As it is. */
  #state: Connection = BEFORE
  /** Runs while a connection is exchanged and looks open. */
  #exchange: unknown
  #cursor: string | undefined
  /** Where it begins before it has a place. */
  #begin: string | undefined
  /** The place after what the listeners are told just now: one that closes and comes back hears nothing twice. */
  #telling: string | undefined
  #source: Source | undefined
  /** What the source was asked for; `null` is nothing yet. */
  #wanted: readonly string[] | undefined | null = null
  /** What is wanted is reckoned anew at the end of this turn. */
  #reckoning: unknown
  /** Ends the watching of the page. */
  #unwatch: () => void = () => {}
  /** After `close` and `logout` nothing connects until `reconnect`. */
  #stopped = false

  constructor(options: ClientOptions, open: OpenSource) {
    this.options = options
    this.#begin = options.cursor
    this.#environment = environmentOf(options.environment)
    this.#openSource = open
    // Wrong options are told here, where they stand. A client that is made on a server to draw a page never connects, and needs no whole
    // address.
    if (this.#environment.location !== undefined || URL.canParse(options.url ?? '')) settle(options, this.#environment)
    this.#tokens = new Tokens(options.token, this.#environment)
    this.#listeners = new Listeners({
      topics: options.topics,
      changed: () => {
        // The first connects; those that come together with it, or later, are reckoned once.
        if (this.#wanted === null) this.#wantAll()
        else this.#reckoning ??= Promise.resolve().then(() => this.#wantAll())
      },
      failed: this.#failed,
    })
    this.#connection = this.#live(BEFORE)
  }

  get connection(): Connection {
    return this.#connection
  }

  onConnection(listener: (connection: Connection) => void): () => void {
    const watcher = { listener }
    this.#watchers.add(watcher)
    return () => void this.#watchers.delete(watcher)
  }

  on<Name extends string>(
    names: Name | readonly Name[],
    listener: (event: AnyEvent<Pick<Any, Name>>) => void,
    options: Omit<SubscriptionOptions<Any, Name>, 'names' | 'onEvent'> = {},
  ): () => void {
    const wanted = typeof names === 'string' ? [names] : names
    return this.subscribe({ ...options, names: wanted, onEvent: listener }).unsubscribe
  }

  subscribe<Name extends string>(options: SubscriptionOptions<Any, Name>): Subscription<Any> {
    return this.#listeners.add(options as unknown as SubscriptionOptions<Any>)
  }

  onGap(listener: (gap: Gap) => void): () => void {
    return this.subscribe({ topics: [], onGap: listener }).unsubscribe
  }

  latest<Name extends string>(name: Name, topic?: string): AnyEvent<Pick<Any, Name>> | undefined {
    return this.#latest.of(name, topic) as AnyEvent<Pick<Any, Name>> | undefined
  }

  async position({ signal }: { readonly signal?: AbortSignal | undefined } = {}): Promise<string> {
    if (this.#wanted === null && !signal?.aborted) this.#want(this.options.topics)
    const { placeOf } = await import('./position.js')
    const look = () => ({ ...this.#state, cursor: this.#cursor, wanted: this.#wanted })
    return placeOf({ look, askers: this.#askers }, this.#environment, signal)
  }

  async request(path: string, init?: RequestInit): Promise<Response> {
    const { send } = await import('./request.js')
    return send(path, init ?? {}, settle(this.options, this.#environment), this.#tokens, this.#environment)
  }

  reconnect(): void {
    if (this.#source && !this.#stopped) {
      this.#source.wake()
      return
    }
    this.#stopped = false
    this.#wantAll()
  }

  close(): void {
    this.#stop(false)
  }

  logout(): void {
    // Whoever holds the connection for all has to hear it, also from a page that has none.
    if (!this.#source && shares(this.options, this.#environment)) this.#open()
    this.#stop(true)
  }

  #stop(loggedOut: boolean, error?: TidingsError): void {
    const source = this.#source
    this.#stopped = true
    this.#source = undefined
    this.#wanted = null
    this.#unwatch()
    // One that told of a logout is over, and does not say it again.
    source?.close(loggedOut)
    if (loggedOut) {
      this.#latest.clear()
      this.#tokens.forget()
      this.#cursor = this.#telling = this.#begin = undefined
    }
    this.#tellClosed(error, loggedOut)
  }

  /** Wants what all who listen want together. Without anybody it stays as it is. */
  #wantAll(): void {
    this.#reckoning = undefined
    this.#want(union(this.#listeners.wanted()))
  }

  #want(wanted: readonly string[] | undefined): void {
    // No topic at all would be sent as none named, which is everything.
    if (this.#stopped || wanted?.length === 0) return
    const source = this.#source ?? this.#open()
    // It may have failed, or been closed by who was told of it.
    if (!source || (this.#wanted !== null && isEqual(this.#wanted, wanted))) return
    this.#wanted = wanted
    source.want(wanted)
  }

  #open(): Source | undefined {
    const environment = this.#environment
    let source: Source | undefined
    // A source that is not ours any more is not heard. It may speak before it is handed over.
    const ours = () => source === undefined || source === this.#source
    const sink: SourceSink = {
      batch: batch => ours() && this.#batch(batch),
      connection: connection => ours() && this.#tell(connection),
      error: error => ours() && this.#report(error),
      token: (refresh, signal) => this.#tokens.get(refresh, signal),
      loggedOut: () => ours() && this.#stop(true, new TidingsError('unauthorized', 'logged out on another page')),
    }
    try {
      const settings = settle(this.options, environment)
      // Who comes back after `close` goes on from where it was.
      source = this.#openSource(
        { ...settings, cursor: this.#telling ?? this.#cursor ?? this.#begin },
        sink,
        environment,
        this.options,
      )
    } catch (cause) {
      const error = cause instanceof TidingsError ? cause : new TidingsError('refused', reasonOf(cause), { cause })
      this.#tellClosed(error)
      this.#report(error)
      return undefined
    }
    this.#source = source
    this.#watch(source)
    return source
  }

  #watch(source: Source): void {
    if (this.#environment.document?.visibilityState === 'hidden') source.visible(false)
    this.#unwatch = watchPage(this.#environment, {
      visible: visible => source.visible(visible),
      back: () => {
        const { status, retryAt } = this.#state
        // An end for good stays one, and who rests in the background rests on.
        if (status !== 'closed' && !(status === 'waiting' && retryAt === undefined)) source.wake(true)
      },
    })
  }

  #batch(batch: Batch): void {
    for (const event of batch.present ?? []) this.#latest.remember(event)
    const frames = batch.frames.map(frame =>
      frame.type === 'event' ? { ...frame, event: this.#latest.remember(frame.event) } : frame,
    )
    this.#telling = batch.to
    this.#listeners.tell(frames)
    // Unless one of them has logged out.
    this.#cursor = this.#telling ?? this.#cursor
    this.#telling = undefined
    for (const look of this.#askers) look()
  }

  #tell(connection: Connection): void {
    this.#cursor ??= connection.cursor
    this.#state = connection
    for (const look of this.#askers) look()
    // Exchanged, not failed: it goes on from its place, and whoever shows a badge would see it flicker.
    if (connection.status === 'connecting' && !connection.error && this.#connection.status === 'open')
      this.#exchange ??= this.#environment.setTimeout(() => this.#show(), EXCHANGE)
    else this.#show()
  }

  #show(): void {
    this.#environment.clearTimeout(this.#exchange)
    this.#exchange = undefined
    this.#connection = this.#live(this.#state)
    for (const { listener } of this.#watchers) tell(listener, this.#connection, this.#failed)
  }

  /** With the place as it is whenever somebody looks: it moves with each batch, and is no news. */
  #live(connection: Connection): Connection {
    const place = () => this.#cursor
    return {
      ...connection,
      get cursor() {
        return place()
      },
    }
  }

  #tellClosed(error?: TidingsError, loggedOut?: boolean): void {
    this.#tell({ ...BEFORE, status: 'closed', error, loggedOut })
  }

  readonly #failed = (cause: unknown): void =>
    this.#report(failure('handler', `a listener threw: ${reasonOf(cause)}`, { cause }))

  #report(error: TidingsError): void {
    // Without its hint the error is still told.
    if (error.code === 'proxy') {
      const told = () => this.#complain(error)
      void import('./hints.js').then(({ explain }) => explain(error)).then(told, told)
    } else this.#complain(error)
  }

  #complain(error: TidingsError): void {
    try {
      if (this.options.onError) this.options.onError(error)
      else console[error.retrying ? 'warn' : 'error'](error)
    } catch (cause) {
      // The one who is told of errors has one; there is nobody else to tell.
      console.error(cause)
    }
  }
}

/** How long an exchange of the connection may take before it is told, in ms. */
const EXCHANGE = 2_000

/** Before anybody wanted anything. */
const BEFORE: Connection = {
  status: 'connecting',
  transport: undefined,
  sharing: 'none',
  cursor: undefined,
  attempt: 0,
  retryAt: undefined,
  error: undefined,
}
