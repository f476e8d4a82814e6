import { ListDraft, type ListShape, type Unloaded } from './list.js'

/** The data of one query while the events of a batch change it, so that it is put back once. */
export class Draft {
  #data: unknown
  readonly #unloaded: (data: unknown) => Unloaded
  #isDoubtful = false
  #open: { readonly shape: ListShape; readonly list: ListDraft<unknown> } | undefined

  constructor(data: unknown, unloaded: (data: unknown) => Unloaded) {
    this.#data = data
    this.#unloaded = unloaded
  }

  update(change: (old: unknown) => unknown): void {
    const old = this.result()
    const next = change(old)
    if (next !== undefined) this.#data = next
  }

  /** The list in it; the same one for as long as rules speak of the same. */
  list<Item>(shape: ListShape): ListDraft<Item> {
    if (this.#open === undefined || !isSame(this.#open.shape, shape)) {
      const data = this.result()
      this.#open = { shape, list: new ListDraft<unknown>(data, shape, this.#unloaded(data)) }
    }
    return this.#open.list as ListDraft<unknown> as ListDraft<Item>
  }

  /** Whether it has to be fetched anew all the same, after {@link result}. */
  get isDoubtful(): boolean {
    return this.#isDoubtful
  }

  /** The data with all changes so far. */
  result(): unknown {
    if (this.#open !== undefined) {
      this.#data = this.#open.list.result()
      this.#isDoubtful ||= this.#open.list.isDoubtful
      this.#open = undefined
    }
    return this.#data
  }
}

function isSame(a: ListShape, b: ListShape): boolean {
  return a.id.same === b.id.same && a.member === b.member
}
