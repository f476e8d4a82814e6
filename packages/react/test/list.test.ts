import { describe, expect, it } from 'vitest'
import { identify, ListDraft, type ListShape, type Unloaded } from '../src/query/list.js'

interface Item {
  readonly id: number
  readonly name?: string
}

const ALL: Unloaded = { before: false, after: false }
const byId = (one: Item, other: Item) => one.id - other.id

function draft(data: unknown, unloaded = ALL, shape: Partial<ListShape> = {}): ListDraft<Item> {
  return new ListDraft<Item>(data, { id: identify<Item>('id'), member: undefined, ...shape }, unloaded)
}

function pages(...all: number[][]) {
  return { pages: all.map(ids => ids.map(id => ({ id }))), pageParams: all.map((_, index) => index) }
}

describe('a list', () => {
  it('takes new items at the start, at the end, or in order', () => {
    const list = draft([{ id: 5 }])
    list.upsert({ id: 9 }, 'start')
    list.upsert({ id: 8 }, 'start')
    list.upsert({ id: 7 }, 'end')
    expect(list.result()).toEqual([{ id: 8 }, { id: 9 }, { id: 5 }, { id: 7 }])
    const ordered = draft([{ id: 2 }, { id: 6 }])
    ordered.upsert({ id: 4 }, byId)
    expect(ordered.result()).toEqual([{ id: 2 }, { id: 4 }, { id: 6 }])
  })

  it('keeps an item where it is when it changes, also one that is new itself', () => {
    const list = draft([{ id: 1 }, { id: 2 }])
    list.upsert({ id: 1, name: 'one' }, 'end')
    list.upsert({ id: 3 }, 'start')
    list.upsert({ id: 3, name: 'three' }, 'end')
    list.upsert({ id: 4 }, 'start')
    list.remove(4)
    expect(list.result()).toEqual([{ id: 3, name: 'three' }, { id: 1, name: 'one' }, { id: 2 }])
  })

  it('is the very same data if nothing changes', () => {
    const data = [{ id: 1 }]
    const list = draft(data)
    list.remove(2)
    expect(list.result()).toBe(data)
  })

  it('may be a member of the data, and ids may be made', () => {
    const list = draft({ total: 9, rows: [{ id: 1 }] }, ALL, {
      member: 'rows',
      id: identify<Item>(item => `n${item.id}`),
    })
    list.upsert({ id: 2 }, 'end')
    list.remove('n1')
    expect(list.result()).toEqual({ total: 9, rows: [{ id: 2 }] })
  })

  it('is refused where there is none, or an item has no id', () => {
    expect(() => draft({ rows: 1 })).toThrow(TypeError)
    expect(() => draft(null, ALL, { member: 'rows' })).toThrow(TypeError)
    expect(() => draft([{ name: 'none' }])).toThrow('the id of an item')
  })
})

describe('pages', () => {
  it('change where the item is, and the others stay the very same', () => {
    const data = pages([1, 2], [3, 4])
    const list = draft(data)
    list.upsert({ id: 3, name: 'three' }, 'start')
    const result = list.result() as typeof data
    expect(result.pages).toEqual([data.pages[0], [{ id: 3, name: 'three' }, { id: 4 }]])
    expect(result.pages[0]).toBe(data.pages[0])
    expect(result.pageParams).toBe(data.pageParams)
  })

  it('take new items on the first or last page, or in order', () => {
    const list = draft(pages([1, 2], [4, 5]))
    list.upsert({ id: 0 }, 'start')
    list.upsert({ id: 9 }, 'end')
    expect(list.result()).toMatchObject(pages([0, 1, 2], [4, 5, 9]))
    const ordered = draft(pages([1, 2], [4, 5]))
    ordered.upsert({ id: 3 }, byId)
    expect((ordered.result() as ReturnType<typeof pages>).pages.flat().map(item => item.id)).toEqual([1, 2, 3, 4, 5])
  })

  it('leave out what belongs on a page that is not loaded', () => {
    const data = pages([3, 4])
    const list = draft(data, { before: true, after: true })
    list.upsert({ id: 1 }, 'start')
    list.upsert({ id: 9 }, 'end')
    list.upsert({ id: 8 }, byId)
    list.upsert({ id: 2 }, byId)
    expect(list.result()).toBe(data)
    expect(list.isDoubtful).toBe(false)
  })

  it('are in doubt when an item goes at the end of what is loaded, or none is left to compare with', () => {
    const unloaded = { before: false, after: true }
    const inner = draft(pages([1, 2, 3]), unloaded)
    inner.remove(2)
    inner.result()
    expect(inner.isDoubtful).toBe(false)
    const last = draft(pages([1, 2, 3]), unloaded)
    last.remove(3)
    last.result()
    expect(last.isDoubtful).toBe(true)
    const empty = draft(pages([]), unloaded)
    empty.upsert({ id: 1 }, byId)
    empty.result()
    expect(empty.isDoubtful).toBe(true)
  })
})
