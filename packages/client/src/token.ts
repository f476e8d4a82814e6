import { TidingsError } from './errors.js'
import { aborted, failure, reasonOf } from './failure.js'
import type { Provider } from './provider.js'
import type { ClientOptions, Environment, Token } from './types.js'

/** The page's credential. One that is given as it is needs no code; what keeps those of a provider comes when there is one. */
export class Tokens {
  readonly #option: ClientOptions['token']
  readonly #environment: Environment
  #provider: Provider | undefined

  constructor(option: ClientOptions['token'], environment: Environment) {
    this.#option = option
    this.#environment = environment
  }

  /** The credential to use; `refresh` if the last one was refused. Rejects with a {@link TidingsError}: `token`, or `aborted`. */
  async get(refresh: boolean, signal?: AbortSignal): Promise<Token | undefined> {
    const option = this.#option
    if (typeof option !== 'function') return option ? { token: option } : undefined
    return (await this.#provided(option)).get(refresh, signal)
  }

  /** Another one than `used`, which was refused: the one that somebody else has been given since, or a new one. */
  renew(used: Token | undefined, signal?: AbortSignal): Promise<Token | undefined> {
    return this.get(!this.#provider?.hasOther(used), signal)
  }

  /** Forgets what is held, and ends what is asked. */
  forget(): void {
    this.#provider?.forget()
  }

  async #provided(option: Exclude<ClientOptions['token'], string | undefined>): Promise<Provider> {
    if (!this.#provider) {
      const { Provider } = await import('./provider.js').catch(tokenFailed)
      // Two that came together have one.
      this.#provider ??= new Provider(option, this.#environment)
    }
    return this.#provider
  }
}

/** Throws the error of a credential that could not be had. */
export function tokenFailed(cause: unknown): never {
  if (cause instanceof TidingsError) throw cause
  throw failure('token', `no credential could be had: ${reasonOf(cause)}`, { cause })
}

export { aborted, reasonOf }
