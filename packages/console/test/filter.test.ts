import { describe, expect, test } from 'vitest'
import { eventTest, isEmpty, NO_FILTER } from '../src/filter.js'
import { covers } from '../src/pattern.js'
import { Seen } from '../src/tail.js'

const event = (name: string, topic: string, data: unknown) =>
  new Seen(1, { name, topic, data, time: 0, cursor: undefined })

describe('a topic pattern', () => {
  test.each([
    ['book/42', 'book/42', true],
    ['book/*', 'book/42', true],
    ['book/*', 'book', false],
    ['book/*', 'book/42/cover', false],
    ['library/*/read', 'library/lib1/read', true],
    ['library/**', 'library/lib1/read', true],
    ['library/**', 'library', false],
    ['**', 'queue', true],
    ['*', 'book/42', false],
  ])('%s covers %s: %s', (pattern, topic, expected) => {
    expect(covers(pattern, topic)).toBe(expected)
  })
})

describe('the filter of the tail', () => {
  test('finds by pattern, by a part of the topic, of the name, and of the data', () => {
    const updated = event('book.updated', 'book/42', { title: 'Middlemarch' })
    const fits = (part: Partial<typeof NO_FILTER>) => eventTest({ ...NO_FILTER, ...part })(updated)
    expect(fits({})).toBe(true)
    expect(fits({ topic: 'book/*' })).toBe(true)
    expect(fits({ topic: 'BOOK/4' })).toBe(true)
    expect(fits({ topic: 'queue' })).toBe(false)
    expect(fits({ name: 'UPDATED' })).toBe(true)
    expect(fits({ name: 'created' })).toBe(false)
    expect(fits({ text: 'middle' })).toBe(true)
    expect(fits({ text: '"title":"middlemarch"', name: 'book', topic: 'book/*' })).toBe(true)
    expect(fits({ text: 'solaris', name: 'book' })).toBe(false)
  })

  test('is empty where only blanks were typed', () => {
    expect(isEmpty({ topic: ' ', name: '', text: '\t' })).toBe(true)
    expect(isEmpty({ ...NO_FILTER, text: 'x' })).toBe(false)
  })
})
