import { expect, test } from 'vitest'
import { readGrants, writeGrants } from '../src/grants.js'

test.each([
  [['user/anna']],
  [['role/viewer', 'library/lib1/read']],
  [['user/anna, the elder', 'role/admin']],
  [['user/anna,ben']],
  [[' padded']],
  [['[a', 'b]']],
  [['["a"]']],
  [[]],
])('%j are the same grants after they were a text in a form', grants => {
  expect(readGrants(writeGrants(grants))).toEqual(grants)
})

test('spaces around commas, and commas too many, are no matter', () => {
  expect(readGrants(' a ,b,, c/d ')).toEqual(['a', 'b', 'c/d'])
})
