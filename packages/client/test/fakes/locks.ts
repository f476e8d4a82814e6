/** Web Locks (W3C), as far as the client uses them. */

import type { Scheduler } from './scheduler.js'

interface Request {
  readonly owner: string
  readonly name: string
  readonly mode: LockMode
  readonly grant: () => void
  readonly stolen: () => void
}

export class Locks {
  readonly #scheduler: Scheduler
  #held: Request[] = []
  #pending: Request[] = []

  constructor(scheduler: Scheduler) {
    this.#scheduler = scheduler
  }

  /** As `navigator.locks` of one page. */
  of(owner: string): LockManager {
    const request = (name: string, ...rest: unknown[]) => {
      const callback = rest.pop() as (lock: Lock | null) => unknown
      return this.#request(owner, name, (rest[0] ?? {}) as LockOptions, callback)
    }
    const query = async () => ({ held: this.#held.map(told), pending: this.#pending.map(told) })
    return { request, query } as LockManager
  }

  /** The browser gives back what a page had. */
  release(owner: string): void {
    this.#held = this.#held.filter(request => request.owner !== owner)
    this.#pending = this.#pending.filter(request => request.owner !== owner)
    this.#grant()
  }

  holderOf(name: string): string | undefined {
    return this.#held.find(request => request.name.endsWith(name))?.owner
  }

  ownedBy(owner: string): string[] {
    return [...this.#held, ...this.#pending].filter(request => request.owner === owner).map(request => request.name)
  }

  #request(
    owner: string,
    name: string,
    { mode = 'exclusive', signal, steal = false }: LockOptions,
    callback: (lock: Lock | null) => unknown,
  ): Promise<unknown> {
    if (steal && signal) return Promise.reject(new DOMException('steal takes no signal', 'NotSupportedError'))
    return new Promise((resolve, reject) => {
      const granted = () => {
        signal?.removeEventListener('abort', abort)
        void Promise.resolve()
          .then(() => callback({ name, mode }))
          .finally(() => this.#free(request))
          .then(resolve, reject)
      }
      const request: Request = {
        owner,
        name,
        mode,
        grant: () => this.#scheduler.post(owner, 'locks', granted),
        stolen: () =>
          this.#scheduler.post(owner, 'locks', () => reject(new DOMException('the lock was stolen', 'AbortError'))),
      }
      const abort = () => {
        if (!this.#pending.includes(request)) return
        this.#pending = this.#pending.filter(other => other !== request)
        reject(signal?.reason)
        this.#grant()
      }
      if (signal?.aborted) {
        reject(signal.reason)
        return
      }
      signal?.addEventListener('abort', abort)
      if (steal) {
        for (const other of this.#held) if (other.name === name) other.stolen()
        this.#held = this.#held.filter(other => other.name !== name)
        this.#held.push(request)
        request.grant()
      } else {
        this.#pending.push(request)
        this.#grant()
      }
    })
  }

  #free(request: Request): void {
    this.#held = this.#held.filter(other => other !== request)
    this.#grant()
  }

  /** In the order of asking, as far as their modes allow. */
  #grant(): void {
    for (const request of [...this.#pending]) {
      const same = this.#held.filter(other => other.name === request.name)
      const isFirst = this.#pending.find(other => other.name === request.name) === request
      if (!isFirst || same.some(other => other.mode === 'exclusive' || request.mode === 'exclusive')) continue
      this.#pending = this.#pending.filter(other => other !== request)
      this.#held.push(request)
      request.grant()
    }
  }
}

function told({ name, mode, owner }: Request): LockInfo {
  return { name, mode, clientId: owner }
}
