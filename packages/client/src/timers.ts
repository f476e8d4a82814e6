import type { Environment } from './types.js'

/** What a timer of a browser holds, in ms; one that is set longer rings at once. */
export const LONGEST: number = 2 ** 31 - 1

/** Timers by name: setting one again replaces it, and all of them can be ended at once. */
export class Timers<Name extends string> {
  readonly #environment: Environment
  readonly #running = new Map<Name, unknown>()

  constructor(environment: Environment) {
    this.#environment = environment
  }

  set(name: Name, ms: number, run: () => void): void {
    this.clear(name)
    const timer = this.#environment.setTimeout(
      () => {
        this.#running.delete(name)
        run()
      },
      Math.min(ms, LONGEST),
    )
    this.#running.set(name, timer)
  }

  has(name: Name): boolean {
    return this.#running.has(name)
  }

  clear(...names: readonly Name[]): void {
    for (const name of names.length > 0 ? names : [...this.#running.keys()]) {
      this.#environment.clearTimeout(this.#running.get(name))
      this.#running.delete(name)
    }
  }
}
