/**
 * Changes that wait a moment before they are applied, so that a burst of events is one change of the page (`@tidings/client/pending`).
 *
 * ```ts
 * const pending = createPending({
 *   kinds: {
 *     upload: { apply: (assets: readonly Asset[]) => timeline.add(assets) },
 *     delete: { apply: (ids: readonly string[]) => timeline.remove(ids) },
 *   },
 * })
 * pending.attach(client, { 'asset.uploaded': 'upload', 'asset.deleted': 'delete' })
 * ```
 */

import { environmentOf } from './environment.js'
import { TidingsError } from './errors.js'
import { type Attached, type AttachMap, attachTo } from './pending/attach.js'
import { ChangeQueue } from './pending/queue.js'
import { Timers } from './timers.js'
import type { Client, Environment } from './types.js'

export type { Attached, AttachMap } from './pending/attach.js'

/** Applies what has gathered until it was quiet for a while, but not later than `most` after the first. */
export interface Batching {
  /** ms without a change; 5,000 if left out. */
  readonly quiet?: number | undefined
  /** ms since the first change; 10,000 if left out. */
  readonly most?: number | undefined
  /** The first change of all, and the first one after at least `most` without any, is applied at once. */
  readonly leading?: boolean | undefined
}

/** One kind of change. */
export interface Kind<Change> {
  /** Applies these changes, oldest first, at least one. The next run waits for its promise; what it throws is reported. */
  readonly apply: (changes: readonly Change[]) => unknown
  /** Of changes with one key only the newest counts, in the place of the newest. */
  readonly key?: ((change: Change) => unknown) | undefined
  /** Is applied after so many ms without a change of any debounced kind; 500 if left out. */
  readonly debounce?: number | undefined
  /** In place of `debounce`: has its own clock. */
  readonly batch?: Batching | true | undefined
  /**
   * So many are applied at once, whatever the clock says, and also while it is paused; 10,000 if left out. What comes beyond while `apply` has yet to
   * end takes the place of the oldest, which is reported.
   */
  readonly limit?: number | undefined
}

export interface PendingOptions<Kinds> {
  /** In the order in which they are applied when several are due. */
  readonly kinds: { readonly [Name in keyof Kinds]: Kind<Kinds[Name]> }
  /** Told of what `apply` throws. The console if left out. */
  readonly onError?: ((error: TidingsError) => void) | undefined
  /** What of the browser is replaced, in a test. */
  readonly environment?: Partial<Environment> | undefined
}

/** Changes that have yet to be applied. `Kinds` maps the names of kinds to their changes. */
export interface Pending<Kinds> {
  /** How many wait. What is being applied does not. */
  readonly size: number
  add<Name extends keyof Kinds & string>(kind: Name, ...changes: readonly Kinds[Name][]): void
  /** Applies all that waits now, also while paused. Resolves when it is done. */
  flush(): Promise<void>
  /** Forgets all that waits, as before everything is fetched anew. What is being applied is not stopped. */
  clear(): void
  /** Applies nothing until {@link resume}: a list that somebody chooses from does not change under their hands. Changes are kept. */
  pause(): void
  /** Applies what became due meanwhile. */
  resume(): void
  /** Takes the events of a client as changes. When it is logged out, here or on another page, all that waits is forgotten, as by {@link clear}. */
  attach<Events extends object>(client: Client<Events>, map: AttachMap<Events, Kinds>): Attached<Events, Kinds>
}

/** Makes a place for changes that wait. */
export function createPending<Kinds extends object>(options: PendingOptions<Kinds>): Pending<Kinds> {
  return new Waiting<Kinds>(options)
}

type Any = ChangeQueue<unknown>

/** What one kind adds to a run. */
interface Taken {
  readonly queue: Any
  readonly changes: readonly unknown[]
  /** Does not wait for {@link Pending.resume}. */
  isUrgent: boolean
}

class Waiting<Kinds extends object> implements Pending<Kinds> {
  readonly #environment: Environment
  readonly #onError: ((error: TidingsError) => void) | undefined
  readonly #timers: Timers<string>
  /** In declared order. */
  readonly #queues: ReadonlyMap<string, Any>
  /** Those that are to be applied as soon as may be. */
  readonly #due = new Set<Any>()
  /** When the debounced ones are due. */
  #debounced = 0
  #paused = false
  /** Those of them that do not wait for {@link resume}. */
  readonly #urgent = new Set<Any>()
  #isWorking = false
  #wakeUp: () => void = () => {}
  #work: Promise<void> | undefined
  /** What is left of the run that is under way. */
  #taken: Taken[] = []

  constructor({ kinds, onError, environment }: PendingOptions<Kinds>) {
    this.#environment = environmentOf(environment)
    this.#onError = onError
    this.#timers = new Timers(this.#environment)
    this.#queues = new Map(
      Object.entries(kinds).map(([name, kind]) => [name, new ChangeQueue(name, kind as Kind<unknown>)]),
    )
  }

  get size(): number {
    let size = 0
    for (const queue of this.#queues.values()) size += queue.size
    for (const { changes } of this.#taken) size += changes.length
    return size
  }

  add<Name extends keyof Kinds & string>(kind: Name, ...changes: readonly Kinds[Name][]): void {
    const queue = this.#queues.get(kind)
    if (!queue) throw new TypeError(`no kind of change is named ${kind}`)
    if (changes.length === 0) return
    const leads = queue.leads(this.#environment.now())
    for (const change of changes) this.#put(queue, change)
    if (leads) this.#makeDue([queue])
    else if (queue.size > 0) this.#schedule(queue)
  }

  async flush(): Promise<void> {
    for (const taken of this.#taken) taken.isUrgent = true
    this.#force([...this.#queues.values()])
    await this.#work
  }

  clear(): void {
    this.#taken = []
    this.#timers.clear()
    this.#due.clear()
    this.#urgent.clear()
    this.#debounced = 0
    for (const queue of this.#queues.values()) queue.clear()
    // A run that is paused has nothing left.
    this.#wakeUp()
  }

  pause(): void {
    this.#paused = true
  }

  resume(): void {
    this.#paused = false
    this.#wakeUp()
    this.#apply()
  }

  attach<Events extends object>(client: Client<Events>, map: AttachMap<Events, Kinds>): Attached<Events, Kinds> {
    return attachTo(client, map, {
      add: (kind, changes) => this.add(kind, ...changes),
      clear: () => this.clear(),
    })
  }

  #put(queue: Any, change: unknown): void {
    const dropped = queue.put(change, this.#environment.now())
    if (dropped === 1)
      this.#report(queue.name, new Error('changes come faster than they are applied: the oldest are dropped'))
    if (queue.isFull) this.#force(this.#together(queue))
  }

  /** Kinds that are applied with this one: all that are debounced share a clock, so that their order holds. */
  #together(queue: Any): Any[] {
    return queue.batch ? [queue] : [...this.#queues.values()].filter(({ batch }) => !batch)
  }

  #schedule(queue: Any): void {
    const now = this.#environment.now()
    if (!queue.batch) this.#debounced = Math.max(this.#debounced, now + queue.debounce)
    const timer = queue.batch ? `batch ${queue.name}` : 'debounce'
    // A timer that runs already looks again when it rings: a burst sets no thousand timers.
    if (!this.#timers.has(timer)) this.#ring(timer, queue, now)
  }

  #ring(timer: string, queue: Any, now: number): void {
    const due = queue.batch ? queue.dueAt : this.#debounced
    if (due > now) this.#timers.set(timer, due - now, () => this.#ring(timer, queue, this.#environment.now()))
    else this.#makeDue(this.#together(queue))
  }

  #makeDue(queues: readonly Any[]): void {
    for (const queue of queues) if (queue.size > 0) this.#due.add(queue)
    this.#apply()
  }

  #force(queues: readonly Any[]): void {
    for (const queue of queues) if (queue.size > 0) this.#urgent.add(queue)
    this.#wakeUp()
    this.#makeDue(queues)
  }

  #apply(): void {
    if (this.#isWorking) return
    this.#isWorking = true
    const work = this.#applyDue().finally(() => {
      if (this.#work === work) this.#work = undefined
    })
    this.#work = work
  }

  /** Runs until nothing is due. Where no `apply` gives a promise, it is done when it returns. */
  async #applyDue(): Promise<void> {
    for (this.#taken = this.#take(); this.#taken.length > 0; this.#taken = this.#take()) {
      for (let next = this.#taken[0]; next; next = this.#taken[0]) {
        if (this.#paused && !next.isUrgent && this.#urgent.size === 0) {
          await this.#resumed()
          continue
        }
        this.#taken.shift()
        const applying = this.#applyOne(next.queue, next.changes)
        if (applying) await applying
      }
    }
    this.#isWorking = false
  }

  /** Taken together, at the beginning of a run: what comes later belongs after all of it. */
  #take(): Taken[] {
    const now = this.#environment.now()
    const taken: Taken[] = []
    for (const queue of this.#queues.values()) {
      const isUrgent = this.#urgent.delete(queue)
      if (!this.#due.has(queue) || (this.#paused && !isUrgent)) continue
      this.#due.delete(queue)
      taken.push({ queue, changes: queue.take(now), isUrgent })
    }
    if (this.#debouncedAreEmpty()) this.#debounced = 0
    return taken
  }

  #debouncedAreEmpty(): boolean {
    return [...this.#queues.values()].every(({ batch, size }) => batch || size === 0)
  }

  #applyOne(queue: Any, changes: readonly unknown[]): Promise<void> | undefined {
    const failed = (cause: unknown) => this.#report(queue.name, cause)
    try {
      const applied = queue.apply(changes)
      if (!isThenable(applied)) return undefined
      return Promise.resolve(applied).then(() => {}, failed)
    } catch (cause) {
      failed(cause)
      return undefined
    }
  }

  #resumed(): Promise<void> {
    return new Promise(resolve => {
      this.#wakeUp = resolve
    })
  }

  #report(kind: string, cause: unknown): void {
    const what = cause instanceof Error ? cause.message : String(cause)
    const error = new TidingsError('handler', `pending changes of kind ${kind}: ${what}`, { retrying: true, cause })
    try {
      if (this.#onError) this.#onError(error)
      else console.error(error)
    } catch (worse) {
      console.error(worse)
    }
  }
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof (value as { then?: unknown } | null | undefined)?.then === 'function'
}
