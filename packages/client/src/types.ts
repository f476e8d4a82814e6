/**
 * The words of the client. One meaning each, as in the hub's own pages (ARCHITECTURE.md, protocol/README.md).
 */

import type { TidingsError } from './errors.js'

/** How bytes come: a stream that `fetch` reads, a WebSocket, or one question after the other. */
export type TransportName = 'sse' | 'websocket' | 'poll'

/**
 * Something that happened.
 *
 * `Events` of {@link Client} maps names to the types of their data; `tidings types` writes one from a profile's schemas.
 */
export interface LiveEvent<Name extends string = string, Data = unknown> {
  readonly name: Name
  readonly data: Data
  /** What it is about, as a path. Empty on a mount that does not tell. */
  readonly topic: string
  /** Its place in the log. None for a signal, and for the present state that a subscriber is given first. */
  readonly cursor: string | undefined
  /** When it was published, in ms since 1970. */
  readonly time: number | undefined
}

/** Any of the events of a map, told apart by `name`. */
export type AnyEvent<Events> = {
  // Optional keys of a map are names like the others, and their events are never undefined.
  [Name in keyof Events & string]-?: LiveEvent<Name, Required<Events>[Name]>
}[keyof Events & string]

/** Continuity can't be proven: whoever holds state fetches it anew (protocol §3). What follows is complete again. */
export interface Gap {
  readonly reason: 'unknown' | 'other-epoch' | 'trimmed' | 'ahead'
  readonly asked: string | undefined
  /** From where it goes on. */
  readonly resumed: string
  /** How many events were missed at most, of all topics, where that is known. */
  readonly atMost: number | undefined
}

/** Why a hub ended a connection (protocol §5). */
export interface CloseReason {
  readonly code: number
  readonly reason: string
  readonly message: string
  /** Whether to come back. `false` is for good, until there is a new credential. */
  readonly reconnect: boolean
}

/** Who holds the connection of this page. */
export type Sharing =
  /** A SharedWorker holds one for all pages of the origin. */
  | 'worker'
  /** This page holds it for all others. */
  | 'leader'
  /** Another page holds it. */
  | 'follower'
  /** This page has its own. */
  | 'none'

/**
 * How the connection is.
 *
 * `connecting`: on the way. `open`: events come; while the connection is exchanged for one that brings more topics it stays so for 2 s. `waiting`: cut off, and coming back at `retryAt`; `error` says why.
 * `closed`: for good, by {@link Client.close} or for the reason in `error`; {@link Client.reconnect} begins anew.
 */
export interface Connection {
  readonly status: 'connecting' | 'open' | 'waiting' | 'closed'
  readonly transport: TransportName | undefined
  readonly sharing: Sharing
  /** Everything up to here has been handed to the listeners. */
  readonly cursor: string | undefined
  /** How many attempts have failed since it last stayed open, for 5 s. 0 while it is open. */
  readonly attempt: number
  /** When it tries again, in ms since 1970. */
  readonly retryAt: number | undefined
  readonly error: TidingsError | undefined
  /** Where {@link Client.close} or {@link Client.logout} ended it: whether that was a logout, here or on another page. */
  readonly loggedOut?: boolean | undefined
}

/** A credential, and until when it is good (ms since 1970), if that is known. */
export interface Token {
  readonly token: string
  readonly expires?: number | undefined
}

/** Gives a credential; asked before the first connection, shortly before `expires`, and after a 401. `null` is none: the cookie counts. */
export type TokenProvider = (
  signal: AbortSignal,
) => string | Token | null | undefined | Promise<string | Token | null | undefined>

/** Where each thing is, relative to {@link ClientOptions.url}. */
export interface Paths {
  /** `v1/events`, or a profile's own stream. */
  readonly sse: string
  /** `v1/ws` */
  readonly websocket: string
  /** `v1/poll` */
  readonly poll: string
  /** `v1/jobs` */
  readonly jobs: string
}

export interface ClientOptions {
  /** Where the hub is: its base URL. The page's own origin if left out. */
  readonly url?: string | URL | undefined
  /**
   * What of {@link Paths} is elsewhere. A path that is `false` is not served there, and its transport is not tried.
   *
   * Where only `sse` is given, `websocket` and `poll` are `false`: a profile's own stream is another namespace than the hub's `v1`, maybe
   * with other credentials.
   */
  readonly paths?: { readonly [Path in keyof Paths]?: string | false } | undefined
  /** More parameters of the query: `{ libraries: 'l1,l2' }`. */
  readonly query?: Readonly<Record<string, string>> | undefined
  /** The topics of subscriptions that name none. Left out, it is all that may be seen. */
  readonly topics?: readonly string[] | undefined
  /** Go on from there, instead of from now on: a cursor that came with the page, or `earliest`. */
  readonly cursor?: string | undefined
  /** Which transports to try, in this order. `['sse', 'websocket', 'poll']` if left out. */
  readonly transports?: readonly TransportName[] | undefined
  /** A credential, or what gives one. Left out, cookies count. */
  readonly token?: string | TokenProvider | undefined
  /** More request headers, where the transport has any. */
  readonly headers?: Readonly<Record<string, string>> | undefined
  /** `same-origin` if left out (Fetch standard). */
  readonly credentials?: RequestCredentials | undefined
  /**
   * Whether the pages of one browser share one connection. `auto`: a SharedWorker, else a leader among the pages, else each its own.
   * Clients share when all that decides who asks for what is equal: URL, paths, query, headers, `credentials`, `scope`, and a `token`
   * that is a string. What a token provider gives is not compared: there `scope` has to say who it is.
   */
  readonly share?: 'auto' | 'worker' | 'leader' | 'none' | undefined
  /** Who is logged in: clients of another share nothing with this one. Needed where users change without a reload and cookies or a token provider say who they are. */
  readonly scope?: string | undefined
  /** Makes the SharedWorker, where the bundler can't: `() => new SharedWorker('/tidings-worker.js', { type: 'module' })`. */
  readonly worker?: ((name: string) => SharedWorker) | undefined
  /** Coming back. */
  readonly backoff?: Partial<Backoff> | undefined
  /** Close after being in the background for this long (ms), and come back, with nothing lost, in the foreground. Never if left out. */
  readonly backgroundGrace?: number | undefined
  /** Silence for longer than this (ms) is a dead connection. 45,000 if left out: the hub breaks silence after 20 s. */
  readonly silence?: number | undefined
  /** Told of every failure, also of those that heal by themselves, and of handlers that throw. The console if left out. */
  readonly onError?: ((error: TidingsError) => void) | undefined
  /** What of the browser is replaced, in a test or outside of a browser. */
  readonly environment?: Partial<Environment> | undefined
}

/** How long to wait before coming back: random between 0 and `base * 2^attempt`, `cap` at most ("full jitter"). */
export interface Backoff {
  /** ms; 1,000 if left out. The hub's `retry:` takes its place, and `Retry-After` is a least. */
  readonly base: number
  /** ms; 30,000 if left out. */
  readonly cap: number
}

/** What the client takes from the browser. Nothing else is touched. */
export interface Environment {
  readonly fetch: typeof fetch
  readonly WebSocket: typeof WebSocket | undefined
  readonly SharedWorker: typeof SharedWorker | undefined
  readonly BroadcastChannel: typeof BroadcastChannel | undefined
  readonly locks: LockManager | undefined
  /** ms since 1970. */
  readonly now: () => number
  readonly random: () => number
  readonly setTimeout: (run: () => void, ms: number) => unknown
  readonly clearTimeout: (timer: unknown) => void
  /** Where `online`, `pageshow` and `pagehide` are told; none outside of a page. */
  readonly window: Pick<EventTarget, 'addEventListener' | 'removeEventListener'> | undefined
  /** Where `visibilitychange` is told. */
  readonly document:
    | (Pick<EventTarget, 'addEventListener' | 'removeEventListener'> & {
        readonly visibilityState: DocumentVisibilityState
      })
    | undefined
  /** The page's address, for relative URLs. */
  readonly location: string | undefined
}

/** What a subscription wants, and what it does. */
export interface SubscriptionOptions<Events, Name extends keyof Events & string = keyof Events & string> {
  /** Topics or patterns (`book/*`, `library/**`); those of the client if left out. */
  readonly topics?: readonly string[] | undefined
  /** Event names; all if left out. */
  readonly names?: readonly Name[] | undefined
  /** Called for each event, in order. What it throws is reported and stops nobody else. */
  readonly onEvent?: ((event: AnyEvent<Pick<Events, Name>>) => void) | undefined
  /** Called once for all events that came together: for whoever draws, so that a burst is one drawing. */
  readonly onBatch?: ((events: readonly AnyEvent<Pick<Events, Name>>[]) => void) | undefined
  /** Fetch anew what these events change. */
  readonly onGap?: ((gap: Gap) => void) | undefined
  /** Ends the subscription. */
  readonly signal?: AbortSignal | undefined
}

export interface Subscription<Events> {
  /** Wants something else from now on. No event that both wanted is missed or told twice. */
  replace<Name extends keyof Events & string>(options: SubscriptionOptions<Events, Name>): void
  unsubscribe(): void
}

/**
 * One page's side of a hub.
 *
 * It connects with the first subscription, and stays connected until {@link close}.
 */
export interface Client<Events extends object = Record<string, unknown>> {
  readonly options: ClientOptions
  readonly connection: Connection
  /** Tells of each change of {@link connection}; returns what ends that. */
  onConnection(listener: (connection: Connection) => void): () => void
  /** Hears events of these names, on the client's topics. */
  on<Name extends keyof Events & string>(
    names: Name | readonly Name[],
    listener: (event: AnyEvent<Pick<Events, Name>>) => void,
    options?: Omit<SubscriptionOptions<Events, Name>, 'names' | 'onEvent'>,
  ): () => void
  subscribe<Name extends keyof Events & string>(options: SubscriptionOptions<Events, Name>): Subscription<Events>
  /** Any gap, whatever was subscribed to. */
  onGap(listener: (gap: Gap) => void): () => void
  /** The newest event of this name (and topic) that this page, or the page that holds the connection, has seen. */
  latest<Name extends keyof Events & string>(name: Name, topic?: string): AnyEvent<Pick<Events, Name>> | undefined
  /**
   * The place from which on this client hears everything: whoever fetches state after it resolves and applies all events misses
   * none. Connects if need be. Rejects with a {@link TidingsError} if the connection is refused for good, or aborted, or if nothing is wanted.
   */
  position(options?: { readonly signal?: AbortSignal | undefined }): Promise<string>
  /** A request to the hub with the client's credential, for what is beside the stream. `path` is relative to the hub's URL. */
  request(path: string, init?: RequestInit): Promise<Response>
  /** Comes back now, also after an end for good. */
  reconnect(): void
  /** Ends the connection of this page; others keep theirs. */
  close(): void
  /** Ends it for all pages of this `scope`, and forgets everything: place, newest events, credential. */
  logout(): void
}
