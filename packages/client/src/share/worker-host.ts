import type { OpenSource, Settings } from '../source.js'
import type { Environment } from '../types.js'
import { Holder } from './holder.js'
import { hold } from './locks.js'
import type { FromHolder, FromPage } from './messages.js'
import { newName } from './way.js'
import type { Opening } from './worker-way.js'

/** What a SharedWorker does: holds one connection for the pages that have connected to it. */
export class WorkerHost {
  readonly #environment: Environment
  readonly #open: OpenSource
  readonly #ports = new Map<string, MessagePort>()
  #settings: Settings | undefined
  #holder: Holder | undefined
  readonly #id: string
  readonly #lock: Promise<string | undefined>

  constructor(open: OpenSource, environment: Environment) {
    this.#open = open
    this.#environment = environment
    this.#id = newName(environment)
    this.#lock = this.#holdLock()
  }

  /** How many pages it can speak to. */
  get pages(): number {
    return this.#ports.size
  }

  /** Takes a page that has connected. */
  connect(port: MessagePort): void {
    port.onmessage = (event: MessageEvent<Opening | FromPage>) => {
      const message = event.data
      // One after the other, also those that come before the lock is held.
      void this.#lock.then(lock => this.#hear(port, message, lock))
    }
  }

  #hear(port: MessagePort, message: Opening | FromPage, lock: string | undefined): void {
    if (message.type === 'settings') {
      // The worker's name is made of them, so that all pages say the same.
      this.#settings ??= message.settings
      return
    }
    this.#ports.set(message.page, port)
    const holder = this.#holder ?? (message.type === 'hello' ? this.#begin(lock) : undefined)
    holder?.hear(message)
    if (message.type === 'hello') holder?.start()
    if (!holder && message.type === 'ping') this.#tell(message.page, { type: 'announce' })
    if (message.type === 'bye') this.#ports.delete(message.page)
  }

  #begin(lock: string | undefined): Holder | undefined {
    if (!this.#settings) return undefined
    const holder = new Holder({
      id: newName(this.#environment),
      settings: this.#settings,
      environment: this.#environment,
      open: this.#open,
      options: {},
      tell: (page, message) => this.#tell(page, message),
      lock,
      // A page that has crashed said no farewell.
      forgotten: page => this.#ports.delete(page),
      ended: () => {
        if (this.#holder === holder) this.#holder = undefined
      },
    })
    this.#holder = holder
    return holder
  }

  #tell(page: string, message: FromHolder): void {
    this.#ports.get(page)?.postMessage(message)
  }

  async #holdLock(): Promise<string | undefined> {
    const { locks } = this.#environment
    if (!locks) return undefined
    const name = `tidings/worker/${this.#id}`
    try {
      await hold(locks, name, new AbortController().signal)
      return name
    } catch {
      return undefined
    }
  }
}
