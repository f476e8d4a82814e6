import { TidingsError } from './errors.js'
import { aborted, failure } from './failure.js'
import { tokenFailed } from './token.js'
import type { Environment, Token, TokenProvider } from './types.js'

/** A new credential is asked for this long before the old one runs out, in ms; less for those that live shorter than 5 minutes. */
export const MARGIN = 30_000

/** A credential that is refused sooner says nothing of a clock, in ms. It bounds what a wrong guess costs. */
const YOUNG = 60_000

/** How long it may take, in ms: as long as one page of several is waited for. One that hangs would keep its page from ever connecting. */
const PATIENCE = 10_000

interface Held {
  readonly token: Token | undefined
  readonly given: number
}

/** One question to the provider, for all who wait for its answer. */
interface Call {
  readonly answer: Promise<Token | undefined>
  readonly stop: AbortController
  waiting: number
}

/**
 * What a provider has given: asked for when it is needed, kept while it is good. Those who ask together share one call.
 *
 * Only `expires` is believed, no token is looked into, and our clock may differ from the hub's. One that is ahead makes a new token look
 * old: then nothing is known, and the hub says when it is over. One that is behind makes an old token look good: the hub refuses it, and
 * from two in a row that agree the difference is learned, as one alone may have been revoked. The `expires` of what is
 * handed out is by our own clock.
 */
export class Provider {
  readonly #provide: TokenProvider
  readonly #environment: Environment
  /** How far our clock is behind, in ms. */
  #skew = 0
  /** How far it would be if the last one was refused for its age; no number if it was not. */
  #suspected = Number.NaN
  #held: Held | undefined
  #call: Call | undefined

  constructor(provide: TokenProvider, environment: Environment) {
    this.#provide = provide
    this.#environment = environment
  }

  /** The credential to use; `refresh` if the last one was refused or runs out. */
  get(refresh: boolean, signal?: AbortSignal): Promise<Token | undefined> {
    if (signal?.aborted) return Promise.reject(aborted(signal))
    const held = this.#held
    if (held) {
      const left = this.#left(held)
      if (!refresh && left > 0) return Promise.resolve(this.#local(held))
      this.#giveUp(held, left)
    }
    return this.#share(signal)
  }

  /** Whether what is held is another one than this. */
  hasOther(used: Token | undefined): boolean {
    return this.#held !== undefined && this.#held.token?.token !== used?.token
  }

  /** Forgets what is held, and ends what is asked. */
  forget(): void {
    this.#held = undefined
    this.#call?.stop.abort()
    this.#call = undefined
  }

  /** How long until another is to be asked for, in ms; endless if nobody knows. */
  #left(held: Held): number {
    const { expires } = this.#local(held) ?? {}
    if (expires === undefined) return Number.POSITIVE_INFINITY
    return expires - Math.min(MARGIN, (expires - held.given) / 10) - this.#environment.now()
  }

  /** It runs out, or was refused although it should be good for `left` yet: then our clock may be behind. */
  #giveUp({ token, given }: Held, left: number): void {
    const now = this.#environment.now()
    const isEarly = left > 0 && left < Number.POSITIVE_INFINITY && now - given >= YOUNG
    const behind = isEarly ? (token?.expires ?? 0) - now : Number.NaN
    // A clock is behind by as much each time; what is revoked, or was replaced by somebody else, is not.
    if (isEarly) this.#skew = Math.abs(behind - this.#suspected) < MARGIN ? behind : 0
    this.#suspected = behind
    this.#held = undefined
  }

  /** As our clock has it. One that would have been over when it came was not: then it is not known. */
  #local({ token, given }: Held): Token | undefined {
    if (token?.expires === undefined) return token
    const expires = token.expires - this.#skew
    return expires > given ? { token: token.token, expires } : { token: token.token }
  }

  #share(signal: AbortSignal | undefined): Promise<Token | undefined> {
    const call = this.#call ?? this.#ask()
    this.#call = call
    call.waiting += 1
    return new Promise((resolve, reject) => {
      const leave = () => {
        call.waiting -= 1
        // The last one who waited is gone: nobody wants the answer.
        if (call.waiting === 0) {
          call.stop.abort()
          if (this.#call === call) this.#call = undefined
        }
        reject(aborted(signal))
      }
      signal?.addEventListener('abort', leave, { once: true })
      call.answer.then(resolve, reject).finally(() => signal?.removeEventListener('abort', leave))
    })
  }

  #ask(): Call {
    const { setTimeout, clearTimeout } = this.#environment
    const stop = new AbortController()
    const call: Call = { answer: this.#answer(stop.signal), stop, waiting: 0 }
    const late = () => stop.abort(failure('token', `the token provider gave nothing in ${PATIENCE} ms`))
    const timer = setTimeout(late, PATIENCE)
    const over = () => {
      clearTimeout(timer)
      if (this.#call === call) this.#call = undefined
    }
    call.answer.then(over, over)
    return call
  }

  async #answer(signal: AbortSignal): Promise<Token | undefined> {
    try {
      // One that never looks at its signal is not waited for after an abort.
      const token = asToken(await Promise.race([this.#provide(signal), rejected(signal)]))
      const given = this.#environment.now()
      // A new one is not over already: if it looks so, the clock was not the reason for the refusal.
      if (token?.expires !== undefined && token.expires - this.#skew <= given) this.#skew = 0
      this.#held = { token, given }
      return this.#local(this.#held)
    } catch (cause) {
      return tokenFailed(signal.aborted ? stopped(signal) : cause)
    }
  }
}

/** What a provider gave, as a credential. Throws if it is none. */
function asToken(given: unknown): Token | undefined {
  if (given === undefined || given === null || given === '') return undefined
  if (typeof given === 'string') return { token: given }
  const { token, expires } = given as Partial<Record<keyof Token, unknown>>
  if (typeof token !== 'string' || token === '') throw new TypeError('the token provider gave no token')
  if (expires === undefined || expires === null) return { token }
  if (typeof expires !== 'number' || !Number.isFinite(expires)) {
    throw new TypeError('`expires` has to be a number of milliseconds since 1970')
  }
  return { token, expires }
}

function rejected(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => signal.addEventListener('abort', () => reject(stopped(signal)), { once: true }))
}

/** Nobody wants the answer any more, or it took too long. */
function stopped(signal: AbortSignal): TidingsError {
  return signal.reason instanceof TidingsError ? signal.reason : aborted(signal)
}
