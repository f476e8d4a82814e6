import { expect, test } from 'vitest'
import { profileToName } from '../src/profiles.js'

const profiles = ['default', 'books'].map(name => ({ name }))

test('with several profiles the one that is asked for is named, and the first where there is none of that name', () => {
  expect(profileToName('books', profiles)).toBe('books')
  expect(profileToName('gone', profiles)).toBe('default')
})

test('the only profile is not named', () => {
  expect(profileToName('default', [{ name: 'books' }])).toBeUndefined()
})

test('one that is asked for is named before the profiles are known', () => {
  expect(profileToName('books', [])).toBe('books')
  expect(profileToName('default', [])).toBeUndefined()
})
