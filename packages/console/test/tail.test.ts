import { describe, expect, test } from 'vitest'
import { NO_FILTER } from '../src/filter.js'
import { type Came, Tail } from '../src/tail.js'

/** A tail that draws when the test says so. */
function setUp(kept = 5) {
  let draw: (() => void) | undefined
  const tail = new Tail(run => {
    draw = run
  }, kept)
  return { tail, draw: () => draw?.() }
}

const came = (...names: string[]): Came[] =>
  names.map(name => ({ name, topic: `t/${name}`, data: null, time: 0, cursor: undefined }))
const gap: Came = { name: '', topic: '', data: null, time: 0, cursor: undefined, gap: 'the log was lost' }
const shown = (tail: Tail) => [...tail.events].map(({ name }) => name).join('')

describe('the tail', () => {
  test('is drawn once for all that came since', () => {
    const { tail, draw } = setUp()
    tail.add(came('a', 'b'))
    tail.add(came('c'))
    expect(tail.version.value).toBe(0)
    draw()
    expect(tail.version.value).toBe(1)
    expect(shown(tail)).toBe('abc')
  })

  test('keeps the newest, and counts all', () => {
    const { tail } = setUp(3)
    tail.add(came('a', 'b', 'c', 'd'))
    expect([shown(tail), tail.kept, tail.total]).toEqual(['bcd', 3, 4])
  })

  test('stands still while it is held, and has all that came when it is released', () => {
    const { tail } = setUp()
    tail.add(came('a'))
    tail.hold('pause')
    tail.add(came('b', 'c'))
    expect([shown(tail), tail.waiting]).toEqual(['a', 2])
    tail.release('pause')
    expect([shown(tail), tail.waiting]).toEqual(['abc', 0])
  })

  test('goes on only when nothing holds it any more', () => {
    const { tail } = setUp()
    tail.hold('pause')
    tail.hold('open')
    tail.add(came('a'))
    tail.release('open')
    expect(shown(tail)).toBe('')
    tail.release('pause')
    expect(shown(tail)).toBe('a')
  })

  test('says how many of those that came meanwhile it had to let go', () => {
    const { tail } = setUp(2)
    tail.hold('pause')
    tail.add(came('a', 'b', 'c'))
    expect([tail.waiting, tail.lost]).toEqual([3, 1])
    tail.release('pause')
    expect([shown(tail), tail.lost]).toEqual(['bc', 0])
  })

  test('filters what is there and what comes, and shows all again without a filter', () => {
    const { tail } = setUp()
    tail.add(came('a', 'b', 'a'))
    tail.setFilter({ ...NO_FILTER, name: 'a' })
    tail.add(came('b', 'a'))
    expect([shown(tail), tail.kept]).toEqual(['aaa', 5])
    tail.setFilter(NO_FILTER)
    expect(shown(tail)).toBe('abaBa'.toLowerCase())
  })

  test('counts of what came while it was held what fits the filter', () => {
    const { tail } = setUp(3)
    tail.setFilter({ ...NO_FILTER, name: 'a' })
    tail.hold('pause')
    tail.add(came('b', 'b'))
    expect(tail.waiting).toBe(0)
    tail.add(came('a', 'b', 'b', 'b'))
    expect([tail.waiting, tail.lost]).toEqual([1, 1])
    tail.setFilter({ ...NO_FILTER, name: 'b' })
    expect(tail.waiting).toBe(4)
    tail.release('pause')
    expect([shown(tail), tail.waiting]).toEqual(['bbb', 0])
  })

  test('says the newest whatever is asked for, also of what was put aside', () => {
    const { tail } = setUp()
    tail.add(came('a', 'b'))
    tail.setFilter({ ...NO_FILTER, name: 'nothing' })
    tail.hold('pause')
    tail.add([...came('c'), { ...gap, time: 1 }])
    expect(tail.newest(2).map(({ name }) => name)).toEqual(['c', 'b'])
  })

  test('shows a gap whatever is asked for', () => {
    const { tail } = setUp()
    tail.setFilter({ ...NO_FILTER, name: 'a' })
    tail.add([...came('a', 'b'), gap, ...came('a')])
    expect([...tail.events].map(({ name, gap }) => gap ?? name)).toEqual(['a', 'the log was lost', 'a'])
  })

  test('forgets what fits the filter together with the rest', () => {
    const { tail } = setUp(2)
    tail.setFilter({ ...NO_FILTER, name: 'a' })
    tail.add(came('a', 'b', 'b'))
    expect(shown(tail)).toBe('')
  })

  test('is empty after it was cleared, also of what waited', () => {
    const { tail } = setUp()
    tail.add(came('a'))
    tail.hold('pause')
    tail.add(came('b'))
    tail.clear()
    tail.release('pause')
    expect([shown(tail), tail.waiting]).toEqual(['', 0])
  })
})
