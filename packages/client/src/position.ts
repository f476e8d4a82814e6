import type { TidingsError } from './errors.js'
import { Timers } from './timers.js'
import { aborted } from './token.js'
import type { Connection, Environment } from './types.js'

/** How long an open connection may take to tell its place, in ms. Mounts that tell none are taken as they are after that. */
const PATIENCE = 1_000

interface Asker {
  readonly resolve: (cursor: string) => void
  readonly reject: (error: TidingsError) => void
}

/** Those who wait for the place of a connection. */
export class Positions {
  readonly #askers = new Set<Asker>()
  readonly #timers: Timers<'patience'>

  constructor(environment: Environment) {
    this.#timers = new Timers(environment)
  }

  ask(signal: AbortSignal | undefined): Promise<string> {
    if (signal?.aborted) return Promise.reject(aborted(signal))
    return new Promise((resolve, reject) => {
      const leave = () => asker.reject(aborted(signal))
      const done = () => {
        signal?.removeEventListener('abort', leave)
        this.#askers.delete(asker)
        if (this.#askers.size === 0) this.#timers.clear()
      }
      const asker: Asker = {
        resolve: cursor => {
          done()
          resolve(cursor)
        },
        reject: error => {
          done()
          reject(error)
        },
      }
      signal?.addEventListener('abort', leave, { once: true })
      this.#askers.add(asker)
    })
  }

  /** Answers, if what is known by now is an answer. */
  look({ status, error }: Connection, cursor: string | undefined): void {
    if (this.#askers.size === 0) return
    if (status === 'closed') this.refuse(error ?? aborted())
    else if (status !== 'open') this.#timers.clear()
    else if (cursor !== undefined) this.#answer(cursor)
    else if (!this.#timers.has('patience')) this.#timers.set('patience', PATIENCE, () => this.#answer(''))
  }

  refuse(error: TidingsError): void {
    for (const asker of [...this.#askers]) asker.reject(error)
  }

  #answer(cursor: string): void {
    for (const asker of [...this.#askers]) asker.resolve(cursor)
  }
}
