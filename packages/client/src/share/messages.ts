/**
 * What pages and the holder of their connection say to each other, over a port or a BroadcastChannel.
 *
 * A channel keeps the order of one sender. All of it can be cloned: errors travel as {@link PlainError}.
 */

import { type ErrorCode, type Problem, TidingsError } from '../errors.js'
import type { Batch } from '../source.js'
import type { Connection, LiveEvent, Token } from '../types.js'

/** Topics that are wanted: names and patterns, `undefined` being all. */
export type Topics = readonly string[] | undefined

/** From a page. `page` is its name, a new one each time it comes. */
export type FromPage =
  /** Joins, or wants other topics: answered by `joined` with the same `ask`. `lock`: held for as long as the page lives. */
  | {
      readonly type: 'hello'
      readonly page: string
      readonly ask: number
      readonly topics: Topics
      readonly cursor: string | undefined
      readonly visible: boolean
      readonly lock: string | undefined
    }
  | { readonly type: 'visible'; readonly page: string; readonly visible: boolean }
  | { readonly type: 'wake'; readonly page: string; readonly patient?: boolean }
  /** Answered by an empty `batch`, or by `announce` if the page is not known (any more). */
  | { readonly type: 'ping'; readonly page: string }
  | { readonly type: 'bye'; readonly page: string }
  | { readonly type: 'logout'; readonly page: string }
  /** Answers `token`. */
  | { readonly type: 'token'; readonly page: string; readonly request: number; readonly answer: TokenAnswer }

export type TokenAnswer = { readonly token: Token | undefined } | { readonly error: PlainError }

/** From the holder. `holder` is its name, a new one for each. */
export type FromHolder =
  /** Asks every page for a `hello`. */
  | { readonly type: 'announce' }
  /**
   * From `cursor` on, the batches are complete for the topics of this `ask`. `present`: the newest events of them that are known.
   * `lock`: held for as long as the holder lives.
   */
  | {
      readonly type: 'joined'
      readonly holder: string
      readonly page: string
      readonly ask: number
      readonly cursor: string | undefined
      readonly connection: PlainConnection
      readonly present: readonly LiveEvent[]
      readonly lock: string | undefined
    }
  | ({ readonly type: 'batch'; readonly holder: string } & Pick<Batch, 'from' | 'to' | 'frames'>)
  | { readonly type: 'connection'; readonly holder: string; readonly connection: PlainConnection }
  | { readonly type: 'error'; readonly holder: string; readonly error: PlainError }
  /** Asks this page for a credential. */
  | {
      readonly type: 'token'
      readonly holder: string
      readonly page: string
      readonly request: number
      readonly refresh: boolean
    }
  | { readonly type: 'logout' }

/** A connection as its holder knows it: who shares it, and how far a page is, each page knows for itself. */
export interface PlainConnection extends Omit<Connection, 'error' | 'sharing' | 'cursor'> {
  readonly error: PlainError | undefined
}

/** A {@link TidingsError} without what can't be cloned. */
export interface PlainError {
  readonly code: ErrorCode
  readonly message: string
  readonly status: number | undefined
  readonly problem: Problem | undefined
  readonly retrying: boolean
}

/** `code` is for what is no {@link TidingsError}. */
export function plainError(error: unknown, code: ErrorCode): PlainError {
  if (!(error instanceof TidingsError)) {
    return { code, message: String(error), status: undefined, problem: undefined, retrying: true }
  }
  const { message, status, problem, retrying } = error
  return { code: error.code, message, status, problem, retrying }
}

export function livingError(error: PlainError): TidingsError {
  return new TidingsError(error.code, error.message, {
    retrying: error.retrying,
    ...(error.status === undefined ? {} : { status: error.status }),
    ...(error.problem === undefined ? {} : { problem: error.problem }),
  })
}

export function plainConnection(connection: Connection): PlainConnection {
  const { status, transport, attempt, retryAt, error } = connection
  return { status, transport, attempt, retryAt, error: error && plainError(error, 'network') }
}

/** Whether they say the same; either may be a {@link Connection}. */
export function isSameConnection(a: Comparable, b: Comparable): boolean {
  return (
    a.status === b.status &&
    a.transport === b.transport &&
    a.attempt === b.attempt &&
    a.retryAt === b.retryAt &&
    a.error?.code === b.error?.code &&
    a.error?.message === b.error?.message
  )
}

type Comparable = Omit<PlainConnection, 'error'> & {
  readonly error: Pick<PlainError, 'code' | 'message'> | undefined
}
