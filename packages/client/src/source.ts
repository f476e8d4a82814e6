/**
 * The seams inside the client: a {@link Transport} holds one connection until it ends; a {@link Source} keeps a connection, over
 * whatever transports and whoever holds it, and hands batches on.
 */

import type { Problem, TidingsError } from './errors.js'
import type {
  ClientOptions,
  CloseReason,
  Connection,
  Environment,
  Gap,
  LiveEvent,
  Paths,
  Token,
  TransportName,
} from './types.js'

/** What comes over a connection, in order. */
export type Frame =
  | { readonly type: 'event'; readonly event: LiveEvent }
  | { readonly type: 'gap'; readonly gap: Gap }
  /** The true position: at the opening, and on a quiet stream. */
  | { readonly type: 'cursor'; readonly cursor: string }
  /** After how many ms to come back. */
  | { readonly type: 'retry'; readonly ms: number }
  | { readonly type: 'close'; readonly close: CloseReason }

/** What a connection asks for. */
export interface TransportRequest {
  readonly url: URL
  /** Where a poll tells why nothing was opened, if nothing else does; `poll` beside `url` if left out. */
  readonly probe?: URL | undefined
  readonly query: Readonly<Record<string, string>>
  /** `undefined` is all. */
  readonly topics: readonly string[] | undefined
  readonly cursor: string | undefined
  readonly token: string | undefined
  readonly headers: Readonly<Record<string, string>>
  readonly credentials: RequestCredentials
  /** ms after which silence is the end. */
  readonly silence: number
}

/** How a connection ended. */
export type Ending =
  /** Refused with a status. `retryAfter` in ms. 204 is a refusal too: there is nothing more to come. */
  | {
      readonly kind: 'refused'
      readonly status: number
      readonly problem: Problem | undefined
      readonly retryAfter: number | undefined
    }
  /** Answered with something else than asked for. */
  | { readonly kind: 'content-type'; readonly contentType: string }
  /** The bytes break the protocol. */
  | { readonly kind: 'protocol'; readonly message: string }
  /** Ended, cleanly or not, or never reached. `close` frames were handed over before. */
  | {
      readonly kind: 'ended'
      readonly cause: unknown
      /** It was never opened, although the server is there and answers otherwise. */
      readonly isBlocked?: boolean
    }
  /** Nothing came for longer than `silence`. */
  | { readonly kind: 'silence' }

/** Where a connection hands over what comes. */
export interface TransportSink {
  /** The hub has taken the request. */
  opened(): void
  /** What came together: one call for each read of the socket. Never empty. */
  frames(frames: readonly Frame[]): void
  /** Once, and nothing after it. Not called after an abort. */
  ended(ending: Ending): void
}

/** Opens one connection. Aborting `signal` ends it in silence. Never throws. */
export type Transport = (
  request: TransportRequest,
  sink: TransportSink,
  environment: Environment,
  signal: AbortSignal,
) => void

/** The options with their defaults, and nothing that can't be sent to a worker. */
export interface Settings {
  /** Absolute, ending in a slash. */
  readonly url: string
  readonly paths: { readonly [Path in keyof Paths]: string | false }
  readonly query: Readonly<Record<string, string>>
  readonly cursor: string | undefined
  readonly transports: readonly TransportName[]
  readonly headers: Readonly<Record<string, string>>
  readonly credentials: RequestCredentials
  readonly backoff: { readonly base: number; readonly cap: number }
  readonly backgroundGrace: number | undefined
  readonly silence: number
  readonly scope: string
}

/** What came together, between two places. */
export interface Batch {
  /** The place before it, as far as it is known. */
  readonly from: string | undefined
  /** The place after it: everything up to there has been handed over. */
  readonly to: string | undefined
  readonly frames: readonly Extract<Frame, { type: 'event' | 'gap' }>[]
  /** The newest events that whoever shares the connection had heard before: they count for `latest`, and no listener is told of them. */
  readonly present?: readonly LiveEvent[]
}

/** What a source needs of the page. */
export interface SourceSink {
  batch(batch: Batch): void
  connection(connection: Connection): void
  error(error: TidingsError): void
  /** The credential to connect with. `refresh`: the last one was refused or runs out. */
  token(refresh: boolean, signal: AbortSignal): Promise<Token | undefined>
  /** Somebody has logged this scope out. */
  loggedOut(): void
}

/** A connection that is kept: one page's own ({@link Link}), or one shared by pages. */
export interface Source {
  /** Wants these topics, `undefined` being all; none at all is no wish, and changes nothing. Connects on the first call. What was wanted before and still is goes on without loss. */
  want(topics: readonly string[] | undefined): void
  /** Comes back now; if `patient`, not before a `Retry-After` is over. */
  wake(patient?: boolean): void
  /** Whether the page is seen. A source that several pages share is in the background when all of them are. */
  visible(visible: boolean): void
  /** Ends; for all pages of the scope if `logout`. */
  close(logout: boolean): void
}

/** Makes a source. */
export type OpenSource = (
  settings: Settings,
  sink: SourceSink,
  environment: Environment,
  options: ClientOptions,
) => Source
