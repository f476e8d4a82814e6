/** Runs what the pages of a browser have to do in any order that a browser could choose. */

import { setImmediate } from 'node:timers/promises'

interface Timer {
  readonly owner: string
  readonly due: number
  readonly run: () => void
}

export class Scheduler {
  now = 1_000_000
  readonly #queues = new Map<string, { readonly owner: string; readonly tasks: (() => void)[] }>()
  readonly #timers = new Map<number, Timer>()
  readonly #frozen = new Set<string>()
  readonly #dead = new Set<string>()
  readonly #random: () => number
  #timerId = 0

  constructor(random: () => number = () => 0) {
    this.#random = random
  }

  /** Does it later, after what is in the same queue. */
  post(owner: string, queue: string, run: () => void): void {
    if (this.#dead.has(owner)) return
    const key = `${owner} ${queue}`
    const found = this.#queues.get(key) ?? { owner, tasks: [] }
    found.tasks.push(run)
    this.#queues.set(key, found)
  }

  setTimeout(owner: string, run: () => void, ms: number): number {
    this.#timers.set(++this.#timerId, { owner, due: this.now + ms, run })
    return this.#timerId
  }

  clearTimeout(id: unknown): void {
    this.#timers.delete(id as number)
  }

  freeze(owner: string, frozen: boolean): void {
    if (frozen) this.#frozen.add(owner)
    else this.#frozen.delete(owner)
  }

  isFrozen(owner: string): boolean {
    return this.#frozen.has(owner)
  }

  kill(owner: string): void {
    this.#dead.add(owner)
    for (const [key, queue] of this.#queues) if (queue.owner === owner) this.#queues.delete(key)
    for (const [id, timer] of this.#timers) if (timer.owner === owner) this.#timers.delete(id)
  }

  isDead(owner: string): boolean {
    return this.#dead.has(owner)
  }

  /** One thing that is to be done now; `false` if there is none. */
  async step(): Promise<boolean> {
    const ready = [...this.#queues].filter(([, { owner }]) => !this.#frozen.has(owner))
    const [key, queue] = ready[Math.floor(this.#random() * ready.length)] ?? []
    if (key === undefined || !queue) return false
    queue.tasks.shift()?.()
    if (queue.tasks.length === 0 && this.#queues.get(key) === queue) this.#queues.delete(key)
    await setImmediate()
    return true
  }

  /** All that is to be done now. */
  async settle(most = 10_000): Promise<void> {
    await setImmediate()
    for (let steps = 0; await this.step(); steps++) if (steps > most) throw new Error('it comes to no rest')
  }

  /** Lets time pass, and does what is due meanwhile. */
  async pass(ms: number): Promise<void> {
    const end = this.now + ms
    await this.settle()
    for (;;) {
      const due = [...this.#timers].filter(([, timer]) => !this.#frozen.has(timer.owner) && timer.due <= end)
      const [next] = due.sort(([, a], [, b]) => a.due - b.due)
      if (!next) break
      const [id, timer] = next
      this.#timers.delete(id)
      this.now = Math.max(this.now, timer.due)
      timer.run()
      await this.settle()
    }
    this.now = end
  }
}
