import { describe, expect, it } from 'vitest'
import { covers, coversAll, matches, union, wants } from '../src/filter.js'

/** As the protocol says it (§1.2), segment by segment. */
function naive([wide, ...widest]: readonly string[], [segment, ...rest]: readonly string[]): boolean {
  if (wide === undefined) return segment === undefined
  if (segment === undefined) return false
  if (wide === '**' && widest.length === 0) return true
  return (wide === '*' || wide === segment) && naive(widest, rest)
}

const SEGMENTS = ['a', 'b', '*']

/** All patterns and topics of up to four segments out of few. */
function* paths(segments: readonly string[], ends: readonly string[], depth = 4): Iterable<string[]> {
  if (depth === 0) return
  for (const end of ends) yield [end]
  for (const first of segments) {
    yield [first]
    for (const rest of paths(segments, ends, depth - 1)) yield [first, ...rest]
  }
}

const patterns = [...new Set([...paths(SEGMENTS, ['**'])].map(path => path.join('/')))]
const topics = [...new Set([...paths(['a', 'b', 'c'], [], 5)].map(path => path.join('/')))]

describe('a pattern', () => {
  it('fits the topics that a naive reading of the protocol says', () => {
    for (const pattern of patterns) {
      for (const topic of topics) {
        expect(matches(pattern, topic), `${pattern} ${topic}`).toBe(naive(pattern.split('/'), topic.split('/')))
      }
    }
  })

  it('covers another exactly if it fits all its topics', () => {
    for (const outer of patterns) {
      const fits = new Set(topics.filter(topic => matches(outer, topic)))
      for (const inner of patterns) {
        const covered = topics.every(topic => !matches(inner, topic) || fits.has(topic))
        expect(covers(outer, inner), `${outer} ${inner}`).toBe(covered)
      }
    }
  }, 60_000)

  it.each([
    ['*', 'a', true],
    ['*', 'a/b', false],
    ['**', 'a/b', true],
    ['a/**', 'a', false],
    ['a/*/c', 'a/b/c', true],
    ['a/**/c', 'a/b/c', false],
  ])('%s fits %s: %s', (pattern, topic, fits) => expect(matches(pattern, topic)).toBe(fits))
})

describe('what is wanted together', () => {
  it('leaves out what another pattern covers', () => {
    expect(union([['book/1', 'author/1'], ['book/*'], ['author/1']])).toEqual(['author/1', 'book/*'])
  })

  it('is everything if anybody wants everything', () => expect(union([['a'], undefined])).toBeUndefined())

  it('is nothing if nobody wants anything', () => expect(union([[], []])).toEqual([]))

  it('fits what any of them fits, for all pairs', () => {
    const some = patterns.filter(pattern => pattern.length <= 5)
    for (const one of some) {
      for (const other of some) {
        const both = union([[one], [other]])
        for (const topic of topics) {
          expect(wants(both, topic)).toBe(matches(one, topic) || matches(other, topic))
        }
      }
    }
  }, 60_000)

  it('is covered by more', () => {
    expect(coversAll(['book/*', 'queue'], ['book/1'])).toBe(true)
    expect(coversAll(['book/*'], ['book/1', 'queue'])).toBe(false)
    expect(coversAll(['**'], undefined)).toBe(false)
    expect(coversAll(undefined, undefined)).toBe(true)
  })

  it('has a place for events whose topic is not told', () => expect(wants(['book/1'], '')).toBe(true))
})
