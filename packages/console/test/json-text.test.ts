import { expect, test } from 'vitest'
import { endOfJson, parseJson } from '../src/json-text.js'

test('what is JSON is its value, and nothing is none', () => {
  expect(parseJson('{"a":[1,{}]}')).toEqual({ ok: true, value: { a: [1, {}] } })
  expect(parseJson(' \n')).toEqual({ ok: true, value: undefined })
})

test.each([
  ['{\n  "a": nope\n}', 'Line 2, column 8: "n" is not expected'],
  ['{"a":1,}', 'Line 1, column 8: "}" is not expected'],
  ['{"a":1 "b":2}', 'Line 1, column 8: "\\"" is not expected'],
  ["{'a':1}", 'Line 1, column 2: "\'" is not expected'],
  ['[1,2', 'Line 1, column 5: the text ends too early'],
  ['{"a"', 'Line 1, column 5: the text ends too early'],
  ['[1] 2', 'Line 1, column 5: "2" is not expected'],
  ['01', 'Line 1, column 2: "1" is not expected'],
  ['[{},[],]', 'Line 1, column 8: "]" is not expected'],
])('in %j the mistake is at: %s', (text, message) => {
  expect(parseJson(text)).toEqual({ ok: false, message })
})

test('what the engine takes is taken to its end', () => {
  for (const text of [
    '{}',
    '[]',
    '"[]"',
    '-1.5e+3',
    '{"a":{"b":[{},[],null,true,"\\u00e9\\n"]},"c":0}',
    ' [1 , 2 ] ',
  ]) {
    JSON.parse(text)
    expect(endOfJson(text)).toBe(text.length)
  }
})

test('depth is no matter', () => {
  expect(endOfJson('['.repeat(100_000))).toBe(100_000)
})
