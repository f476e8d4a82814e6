import type { Kind } from '../pending.js'

const DEBOUNCE = 500
const QUIET = 5_000
const MOST = 10_000
const LIMIT = 10_000

/** The changes of one kind that wait. */
export class ChangeQueue<Change> {
  readonly name: string
  readonly apply: Kind<Change>['apply']
  /** In ms. */
  readonly debounce: number
  /** In ms; none for a debounced kind. */
  readonly batch: { readonly quiet: number; readonly most: number; readonly leading: boolean } | undefined
  readonly #key: ((change: Change) => unknown) | undefined
  readonly #limit: number
  readonly #changes = new Map<unknown, Change>()
  #first = 0
  #last = 0
  #taken: number | undefined
  #dropped = 0

  constructor(name: string, { apply, key, debounce = DEBOUNCE, batch, limit = LIMIT }: Kind<Change>) {
    this.name = name
    this.apply = apply
    this.debounce = debounce
    this.#key = key
    this.#limit = Math.max(1, limit)
    if (!batch) return
    const { quiet = QUIET, most = MOST, leading = false } = batch === true ? {} : batch
    this.batch = { quiet, most, leading }
  }

  get size(): number {
    return this.#changes.size
  }

  get isFull(): boolean {
    return this.#changes.size >= this.#limit
  }

  /** When a batch is to be applied, in ms since 1970. */
  get dueAt(): number {
    const { quiet = 0, most = 0 } = this.batch ?? {}
    return Math.min(this.#last + quiet, this.#first + most)
  }

  /** Whether a change that comes now is applied at once. */
  leads(now: number): boolean {
    if (!this.batch?.leading || this.#changes.size > 0) return false
    return this.#taken === undefined || now - this.#taken >= this.batch.most
  }

  /** Takes a change in; returns how many of the oldest had to go for it, since the last {@link take}. */
  put(change: Change, now: number): number {
    const key = this.#key ? this.#key(change) : Symbol()
    // At the end again, where the newest belongs.
    this.#changes.delete(key)
    if (this.#changes.size === 0) this.#first = now
    this.#last = now
    this.#changes.set(key, change)
    if (this.#changes.size <= this.#limit) return 0
    const [oldest] = this.#changes.keys()
    this.#changes.delete(oldest)
    this.#dropped += 1
    return this.#dropped
  }

  take(now: number): readonly Change[] {
    const changes = [...this.#changes.values()]
    this.#changes.clear()
    this.#taken = now
    this.#dropped = 0
    return changes
  }

  /** As it was at first. */
  clear(): void {
    this.#changes.clear()
    this.#taken = undefined
    this.#dropped = 0
  }
}
