import { expect, test } from 'vitest'
import { cursorAfter, offsetOf } from '../src/cursor.js'

test('the place behind an event is the next, however far the log is', () => {
  expect(cursorAfter('9f3c2a1b-42')).toBe('9f3c2a1b-43')
  expect(cursorAfter('9f3c2a1b-9007199254740993')).toBe('9f3c2a1b-9007199254740994')
  expect([cursorAfter('earliest'), cursorAfter('')]).toEqual([undefined, undefined])
})

test('the number in a cursor is told apart from its log', () => {
  expect([offsetOf('9f3c2a1b-42'), offsetOf(null)]).toEqual(['42', undefined])
})
