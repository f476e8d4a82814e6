import { TidingsError } from './errors.js'
import type { ClientOptions, Environment, Token } from './types.js'

/** A new credential is asked for this long before the old one runs out, in ms; less for those that live shorter than 5 minutes. */
const MARGIN = 30_000

/**
 * When credentials run out, by a clock that may differ from the hub's.
 *
 * Only `expires` is believed, no token is looked into. A clock that is ahead makes a new token look old: then nothing is known, and the
 * hub says when it is over. One that is behind makes an old token look good: the hub refuses it, and from that the difference is learned.
 */
export class Expiry {
  #skew = 0

  /** In how many ms to ask for another, at most 0 if that is overdue; `undefined` if nobody knows. */
  renewIn(token: Token | undefined, given: number, now: number): number | undefined {
    if (token?.expires === undefined) return undefined
    const life = token.expires - this.#skew - given
    if (life <= 0) return undefined
    return given + life - Math.min(MARGIN, life / 10) - now
  }

  /** The hub has refused it. If it should be good yet, our clock is behind. */
  refused(token: Token | undefined, given: number, now: number): void {
    const left = this.renewIn(token, given, now)
    if (token?.expires !== undefined && left !== undefined && left > 0) this.#skew = token.expires - now
  }

  /** A new one has come. It is not over already: if it looks so, the clock was not the reason for the refusal. */
  renewed(token: Token | undefined, now: number): void {
    if (token?.expires !== undefined && token.expires - this.#skew <= now) this.#skew = 0
  }
}

/** One question to the provider, for all who wait for its answer. */
interface Call {
  readonly answer: Promise<Token | undefined>
  readonly stop: AbortController
  waiting: number
}

interface Held {
  readonly token: Token | undefined
  readonly given: number
}

/** The page's credential: asked for when it is needed, kept while it is good. Those who ask together share one call. */
export class Tokens {
  readonly #option: ClientOptions['token']
  readonly #environment: Environment
  readonly #expiry = new Expiry()
  #held: Held | undefined
  #call: Call | undefined

  constructor(option: ClientOptions['token'], environment: Environment) {
    this.#option = option
    this.#environment = environment
  }

  /** The credential to use; `refresh` if the last one was refused. Rejects with a {@link TidingsError}: `token`, or `aborted`. */
  get(refresh: boolean, signal?: AbortSignal): Promise<Token | undefined> {
    if (signal?.aborted) return Promise.reject(aborted(signal))
    if (typeof this.#option !== 'function') return Promise.resolve(asToken(this.#option))
    const now = this.#environment.now()
    const held = this.#held
    if (held) {
      if (refresh) this.#expiry.refused(held.token, held.given, now)
      else if ((this.#expiry.renewIn(held.token, held.given, now) ?? 1) > 0) return Promise.resolve(held.token)
    }
    return this.#share(signal)
  }

  /** Another one than `used`, which was refused: the one that somebody else has been given since, or a new one. */
  renew(used: Token | undefined, signal?: AbortSignal): Promise<Token | undefined> {
    const newer = this.#held !== undefined && this.#held.token?.token !== used?.token
    return this.get(!newer, signal)
  }

  /** Forgets what is held, and ends what is asked. */
  forget(): void {
    this.#held = undefined
    this.#call?.stop.abort()
    this.#call = undefined
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
    const stop = new AbortController()
    const call: Call = { answer: this.#provide(stop.signal), stop, waiting: 0 }
    const over = () => {
      if (this.#call === call) this.#call = undefined
    }
    call.answer.then(over, over)
    return call
  }

  async #provide(signal: AbortSignal): Promise<Token | undefined> {
    const provider = this.#option
    if (typeof provider !== 'function') return asToken(provider)
    try {
      // A provider that never looks at its signal is not waited for after an abort.
      const token = asToken(await Promise.race([provider(signal), rejected(signal)]))
      const given = this.#environment.now()
      this.#expiry.renewed(token, given)
      this.#held = { token, given }
      return token
    } catch (cause) {
      if (signal.aborted) throw aborted(signal)
      throw new TidingsError('token', `no credential could be had: ${reasonOf(cause)}`, { retrying: true, cause })
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
  return new Promise((_, reject) => signal.addEventListener('abort', () => reject(aborted(signal)), { once: true }))
}

/** The error of whoever was stopped. */
export function aborted(signal?: AbortSignal): TidingsError {
  return new TidingsError('aborted', 'aborted before it was done', { cause: signal?.reason })
}

/** What an unknown thing that was thrown says. */
export function reasonOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause)
}
