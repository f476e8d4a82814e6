import type { TidingsError } from './errors.js'
import { failure } from './failure.js'
import type { Settings } from './source.js'
import type { Environment, TransportName } from './types.js'

/** How long a stream may take from its head to its first byte, in ms: a hub sends both at once. */
export const FIRST_BYTE = 5_000

/** How long a stream or a handshake may take to be answered at all, in ms. Some proxies hold back the head as well. */
export const ANSWER = 10_000

/** How long a WebSocket's handshake may take, in ms. Where it hangs it is swallowed, and there is a transport left that works. */
export const HANDSHAKE = 5_000

/** A stream that is cut sooner than this is short-lived, in ms: a hub's first heartbeat would not have come yet. */
const SHORT = 20_000

/** So many short-lived streams in a row are no accident. */
const ROW = 3

/** After how long a better transport is tried again, in ms; twice as long after each time that it was worse again. */
const AGAIN = 600_000
const AGAIN_AT_MOST = 4_800_000

/** Which transport to use: the first that is possible, and the next when a proxy spoils it. The last one stays. */
export class Choice {
  readonly #order: readonly TransportName[]
  #at = 0
  #row = 0
  /** The last one was short-lived, and may have been cut by a proxy or have lost its server. */
  #isShort = false
  #again = AGAIN

  constructor(settings: Settings, environment: Environment) {
    this.#order = settings.transports.filter(
      name => settings.paths[name] !== false && (name !== 'websocket' || environment.WebSocket !== undefined),
    )
  }

  /** `undefined` where none is possible. */
  get current(): TransportName | undefined {
    return this.#order[this.#at]
  }

  get isBest(): boolean {
    return this.#at === 0
  }

  /** Goes on to the next; returns after how many ms the best is to be tried again, or `undefined` if there is no next. */
  fall(): number | undefined {
    this.#row = 0
    if (this.#at >= this.#order.length - 1) return undefined
    this.#at += 1
    return this.#again
  }

  /** Begins with the best again. `afresh`: something has changed (the network, the user's mind), so what was learned counts no more. */
  restart(afresh: boolean): void {
    this.#at = 0
    this.#row = 0
    this.#again = afresh ? AGAIN : Math.min(this.#again * 2, AGAIN_AT_MOST)
  }

  /**
   * A connection ended without a reason after `open` ms, or was never opened; `isBlocked`: although the server is there. Returns whether
   * that is a pattern.
   */
  cut(open: number | undefined, isBlocked = false): boolean {
    // A poll is an answer each time.
    this.#isShort = open !== undefined && open < SHORT && this.current !== 'poll'
    // Nothing is learned from a server or a network that is away.
    if (!this.#isShort) this.#row = isBlocked ? this.#row + 1 : 0
    return this.#row >= ROW - 1 && isBlocked
  }

  /** The server has taken a connection at the next attempt: so it was there when the one before was cut. Returns whether that is a pattern. */
  reached(): boolean {
    if (this.#isShort) this.#row += 1
    this.#isShort = false
    return this.#row >= ROW
  }

  /** A stream ended for a reason, or lasted; or nobody answers, of which nothing is learned. */
  steady(): void {
    this.#isShort = false
    this.#row = 0
  }
}

/** A proxy between spoils it. What to set is said where it is told: see `hints.ts`. */
export function proxyError(does: 'holds streams back' | 'cuts streams' | 'passes no WebSocket on'): TidingsError {
  return failure('proxy', `a proxy ${does}`)
}
