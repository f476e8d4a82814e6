import type { Client } from '@tidings/client'

/**
 * A client that belongs to a component.
 *
 * StrictMode ends and begins all effects once more, in the same task. So the client is closed only after that task, if
 * nobody has come back by then.
 */
export class Holding {
  readonly key: string
  readonly client: Client
  #users = 0
  #closed = false

  constructor(key: string, client: Client) {
    this.key = key
    this.client = client
  }

  /** Keeps the client open until what is returned is called. */
  retain(): () => void {
    this.#users += 1
    if (this.#closed) {
      this.#closed = false
      this.client.reconnect()
    }
    return () => {
      this.#users -= 1
      queueMicrotask(() => this.#closeIfUnused())
    }
  }

  #closeIfUnused() {
    if (this.#users > 0 || this.#closed) return
    this.#closed = true
    this.client.close()
  }
}
