import { expect, test } from 'vitest'
import { cursorAfter, offsetOf, placeBehind } from '../src/cursor.js'

test('the place behind an event is the next, however far the log is', () => {
  expect(cursorAfter('9f3c2a1b-42')).toBe('9f3c2a1b-43')
  expect(cursorAfter('9f3c2a1b-9007199254740993')).toBe('9f3c2a1b-9007199254740994')
  expect([cursorAfter('earliest'), cursorAfter('')]).toEqual([undefined, undefined])
})

test('behind what was read is its newest, and where nothing was there the place that was known before', () => {
  const log = { epoch: '9f3c2a1b', last: '9f3c2a1b-7' }
  expect(placeBehind([{ cursor: '9f3c2a1b-9' }, { cursor: '9f3c2a1b-8' }], log)).toBe('9f3c2a1b-9')
  expect(placeBehind([], log)).toBe('9f3c2a1b-7')
  expect(placeBehind([], { ...log, last: null })).toBe('9f3c2a1b-0')
  expect(placeBehind([], undefined)).toBeUndefined()
})

test('the number in a cursor is told apart from its log', () => {
  expect([offsetOf('9f3c2a1b-42'), offsetOf(null)]).toEqual(['42', undefined])
})
