/** The newest `capacity` things, oldest first; adding one beyond that lets go of the oldest. */
export class Ring<T> {
  readonly capacity: number
  #items: (T | undefined)[]
  #start = 0
  #length = 0

  constructor(capacity: number) {
    this.capacity = capacity
    this.#items = new Array<T | undefined>(capacity)
  }

  get length(): number {
    return this.#length
  }

  /** Adds one, and tells whether the oldest had to go for it. */
  push(item: T): boolean {
    const full = this.#length === this.capacity
    this.#items[(this.#start + this.#length) % this.capacity] = item
    if (full) this.#start = (this.#start + 1) % this.capacity
    else this.#length++
    return full
  }

  /** The one at `index`, 0 being the oldest. */
  at(index: number): T | undefined {
    if (index < 0 || index >= this.#length) return undefined
    return this.#items[(this.#start + index) % this.capacity]
  }

  /** The one `back` places before the newest, which is 0. */
  newest(back = 0): T | undefined {
    return this.at(this.#length - 1 - back)
  }

  /** Takes the oldest out. */
  shift(): T | undefined {
    const oldest = this.at(0)
    if (this.#length === 0) return undefined
    this.#items[this.#start] = undefined
    this.#start = (this.#start + 1) % this.capacity
    this.#length--
    return oldest
  }

  clear(): void {
    this.#items = new Array<T | undefined>(this.capacity)
    this.#start = 0
    this.#length = 0
  }

  *[Symbol.iterator](): Generator<T> {
    for (let index = 0; index < this.#length; index++) {
      const item = this.at(index)
      if (item !== undefined) yield item
    }
  }
}
