import { expect, test } from 'vitest'
import { formatRoute, parseRoute } from '../src/route.js'

test('a place comes back as it was said', () => {
  const query = { topic: 'book/*', text: 'a&b=c?#%' }
  expect(parseRoute(formatRoute('tail', query))).toEqual({ view: 'tail', query })
})

test('topics stay readable, and empty parameters are left out', () => {
  expect(formatRoute('tail', { topic: 'library/lib1/*', name: '', text: undefined })).toBe(
    '#/tail?topic=library/lib1/*',
  )
})

test('what is no place is the overview', () => {
  for (const hash of ['', '#', '#/', '#/nowhere', '#tail/x', '#/__proto__'])
    expect(parseRoute(hash).view).toBe('overview')
})
