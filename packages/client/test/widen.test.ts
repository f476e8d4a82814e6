import { describe, expect, it } from 'vitest'
import { covers } from '../src/filter.js'
import { widen } from '../src/widen.js'

const many = (count: number, of: string) => Array.from({ length: count }, (_, n) => `${of}/${n}`)

describe('many patterns', () => {
  it('stay as they are where they are few, or all', () => {
    expect(widen(['b', 'a/*'], 200)).toEqual(['b', 'a/*'])
    expect(widen(undefined, 200)).toBeUndefined()
  })

  it('become one where they differ in the last segment, and the others stay', () => {
    expect(widen([...many(201, 'book'), 'author/1', 'queue'], 200)).toEqual(['author/1', 'book/*', 'queue'])
  })

  it('become one where they differ in the last two, if that is not enough', () => {
    const deep = many(30, 'library').flatMap(library => many(10, `${library}/book`))
    expect(widen(deep, 200)).toHaveLength(30)
    expect(widen(deep, 20)).toEqual(['library/*/*/*'])
  })

  it('keep an open end', () => {
    expect(widen([...many(201, 'book').map(topic => `${topic}/**`), 'book/1'], 200)).toEqual(['book/*/**', 'book/1'])
  })

  it('are few enough when they take much of a query', () => {
    const long = many(60, 'book').map(topic => `${topic}${'x'.repeat(100)}`)
    expect(widen(long, 200)).toEqual(['book/*'])
  })

  it('are all in the end', () => {
    expect(widen(many(201, 'book'), 0)).toBeUndefined()
    expect(widen(['a', 'b/c'], 1)).toBeUndefined()
  })

  it('fit all that they fitted, however few may be left', () => {
    const topics = ['a', 'b', 'a/*', '*/b', 'a/b/c', 'a/b/**', 'c/**', '**', 'c/d/e/f', 'c/d/e/g', 'c/x/e/g']
    for (let most = 0; most <= topics.length; most++) {
      const wide = widen(topics, most)
      expect(wide?.length ?? 0).toBeLessThanOrEqual(most)
      for (const topic of topics)
        expect(wide?.some(other => covers(other, topic)) ?? true, `${most} ${topic}`).toBe(true)
    }
  })
})
