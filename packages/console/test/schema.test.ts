import { expect, test } from 'vitest'
import { example, members } from '../src/schema.js'

const schema = {
  type: 'object',
  required: ['status'],
  properties: {
    id: { type: ['integer', 'null'], description: 'The book' },
    status: { enum: ['wanted', 'imported'] },
    tags: { type: 'array', items: { type: 'string' } },
  },
}

test('the members are said with their types, the needed ones first', () => {
  expect(members(schema)).toEqual([
    { name: 'status', type: '"wanted" | "imported"', required: true, description: undefined },
    { name: 'id', type: 'integer | null', required: false, description: 'The book' },
    { name: 'tags', type: 'string[]', required: false, description: undefined },
  ])
})

test('an example has every member', () => {
  expect(example(schema)).toEqual({ id: 0, status: 'wanted', tags: [''] })
})

test('a schema that is none, or contains itself, says little and ends', () => {
  const endless: Record<string, unknown> = { type: 'object' }
  endless.properties = { child: endless }
  expect(JSON.stringify(example(endless)).length).toBeLessThan(200)
  for (const odd of [null, true, 'x', [], {}]) expect([members(odd), example(odd)]).toEqual([[], null])
})
