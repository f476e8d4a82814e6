/** What tells items apart. */
export type Id = string | number

/** A member of the item, or a function of it. */
export type IdOf<Item> = (keyof Item & string) | ((item: Item) => Id)

/** Where a new item goes: before all, after all, or by an order (as of `Array.sort`). */
export type Position<Item> = 'start' | 'end' | ((a: Item, b: Item) => number)

/** How items are told apart; `same` is equal where two rules say the same. */
export interface Identity {
  readonly same: unknown
  of(item: unknown): Id
}

export function identify<Item>(id: IdOf<Item> | undefined): Identity {
  if (typeof id === 'function') return { same: id, of: item => checked(id(item as Item)) }
  const member = id ?? 'id'
  return { same: member, of: item => checked((item as { readonly [member: string]: unknown } | null)?.[member]) }
}

function checked(id: unknown): Id {
  if (typeof id === 'string' || typeof id === 'number') return id
  throw new TypeError(`the id of an item is a string or a number, not ${id === null ? 'null' : typeof id}`)
}

/** How a list lies in the data of a query. */
export interface ListShape {
  readonly id: Identity
  readonly member: string | undefined
}

/** Which pages of an infinite query are not loaded yet. */
export interface Unloaded {
  readonly before: boolean
  readonly after: boolean
}

/** The cached pages of an infinite query. */
export interface Pages {
  readonly pages: readonly unknown[]
  readonly pageParams: readonly unknown[]
}

export function arePages(data: unknown): data is Pages {
  const pages = data as Partial<Pages> | null
  return typeof data === 'object' && Array.isArray(pages?.pages) && Array.isArray(pages?.pageParams)
}

/**
 * A list while it is being changed: an array, or the arrays of all pages.
 *
 * Each page is a map from id to item, in order, so that a change costs the same however long the list is.
 */
export class ListDraft<Item> {
  readonly #data: unknown
  readonly #shape: ListShape
  readonly #unloaded: Unloaded
  readonly #pages: Map<Id, Item>[]
  readonly #pageOf = new Map<Id, number>()
  readonly #changed = new Set<number>()
  /** Items that go before all others, the first of them last. */
  #front = new Map<Id, Item>()
  #order: ((a: Item, b: Item) => number) | undefined
  readonly #ends: readonly (Id | undefined)[]
  #isDoubtful = false

  /** Throws a TypeError if there is no such list in `data`. */
  constructor(data: unknown, shape: ListShape, unloaded: Unloaded) {
    this.#data = data
    this.#shape = shape
    this.#unloaded = unloaded
    const pages = arePages(data) ? data.pages : [data]
    this.#pages = pages.map((page, index) => {
      const items = new Map<Id, Item>()
      for (const item of arrayIn(page, shape.member) as readonly Item[]) {
        const id = shape.id.of(item)
        items.set(id, item)
        this.#pageOf.set(id, index)
      }
      return items
    })
    this.#ends = this.#endsOf(this.#pages.map(page => [...page.values()]))
  }

  /**
   * Whether only the server knows what belongs here: where the last item that is loaded goes, what comes after it may
   * be on no page, neither a loaded one nor the next.
   */
  get isDoubtful(): boolean {
    return this.#isDoubtful
  }

  upsert(item: Item, position: Position<Item>): void {
    const id = this.#shape.id.of(item)
    if (typeof position === 'function') this.#order = position
    if (this.#front.has(id)) {
      this.#front.set(id, item)
      return
    }
    const page = this.#pageOf.get(id)
    if (page !== undefined) this.#set(page, id, item)
    else if (position === 'start') this.#prepend(id, item)
    else this.#append(id, item, position)
  }

  remove(id: Id): void {
    if (this.#front.delete(id)) return
    const page = this.#pageOf.get(id)
    if (page === undefined) return
    this.#pages[page]?.delete(id)
    this.#pageOf.delete(id)
    this.#changed.add(page)
  }

  /** The data with the changes; the very data it was made of if there are none. */
  result(): unknown {
    if (this.#front.size > 0) this.#changed.add(0)
    if (this.#changed.size === 0) return this.#data
    let arrays = this.#pages.map((page, index) =>
      index === 0 ? [...[...this.#front.values()].reverse(), ...page.values()] : [...page.values()],
    )
    if (this.#order !== undefined) arrays = inOrder(arrays, this.#order)
    const sorted = this.#order !== undefined
    const [first, last] = this.#endsOf(arrays)
    const { before, after } = this.#unloaded
    if ((before && first !== this.#ends[0]) || (after && last !== this.#ends[1])) this.#isDoubtful = true
    const put = (page: unknown, index: number) =>
      sorted || this.#changed.has(index) ? withArray(page, this.#shape.member, arrays[index] ?? []) : page
    return arePages(this.#data) ? { ...this.#data, pages: this.#data.pages.map(put) } : put(this.#data, 0)
  }

  #set(page: number, id: Id, item: Item) {
    this.#pages[page]?.set(id, item)
    this.#pageOf.set(id, page)
    this.#changed.add(page)
  }

  #prepend(id: Id, item: Item) {
    if (!this.#unloaded.before && this.#pages.length > 0) this.#front.set(id, item)
  }

  #append(id: Id, item: Item, position: Position<Item>) {
    const last = this.#pages.length - 1
    if (last < 0) return
    if (typeof position === 'function') {
      if ((this.#unloaded.after || this.#unloaded.before) && this.#pageOf.size === 0) this.#isDoubtful = true
      if (this.#unloaded.after && !this.#anyIs(one => position(item, one) < 0)) return
      if (this.#unloaded.before && !this.#anyIs(one => position(item, one) > 0)) return
    } else if (this.#unloaded.after) return
    this.#set(last, id, item)
  }

  /** The ids of the first and the last item. */
  #endsOf(arrays: readonly Item[][]): (Id | undefined)[] {
    const all = arrays.filter(array => array.length > 0)
    return [all[0]?.[0], all.at(-1)?.at(-1)].map(item => (item === undefined ? undefined : this.#shape.id.of(item)))
  }

  #anyIs(test: (item: Item) => boolean): boolean {
    return this.#pages.some(page => [...page.values()].some(test))
  }
}

/** All items in order, over pages that stay as long as they are; the last one takes what is more. */
function inOrder<Item>(pages: readonly Item[][], order: (a: Item, b: Item) => number): Item[][] {
  const all = pages.flat().sort(order)
  let from = 0
  return pages.map((page, index) => {
    const to = index === pages.length - 1 ? all.length : from + page.length
    const slice = all.slice(from, to)
    from = to
    return slice
  })
}

function arrayIn(page: unknown, member: string | undefined): readonly unknown[] {
  const list = member === undefined ? page : (page as { readonly [member: string]: unknown } | null)?.[member]
  if (Array.isArray(list)) return list
  throw new TypeError(
    member === undefined ? 'the cached data is no array' : `the cached data has no array in "${member}"`,
  )
}

function withArray(page: unknown, member: string | undefined, array: readonly unknown[]): unknown {
  return member === undefined ? array : { ...(page as object), [member]: array }
}
