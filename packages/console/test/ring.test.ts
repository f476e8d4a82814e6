import { expect, test } from 'vitest'
import { Ring } from '../src/ring.js'

test('the newest stay and the oldest go, in the order in which they came', () => {
  const ring = new Ring<number>(3)
  const full = [1, 2, 3, 4, 5].map(n => ring.push(n))
  expect(full).toEqual([false, false, false, true, true])
  expect([...ring]).toEqual([3, 4, 5])
  expect([ring.newest(), ring.newest(2), ring.newest(3), ring.at(0), ring.at(-1)]).toEqual([
    5,
    3,
    undefined,
    3,
    undefined,
  ])
})

test('what was taken out at the old end leaves room at the new one', () => {
  const ring = new Ring<number>(2)
  for (const n of [1, 2]) ring.push(n)
  expect(ring.shift()).toBe(1)
  expect(ring.push(3)).toBe(false)
  expect([...ring]).toEqual([2, 3])
  ring.clear()
  expect([ring.length, ring.shift(), ring.newest()]).toEqual([0, undefined, undefined])
})
