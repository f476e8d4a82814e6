import { expect, test } from 'vitest'
import { endOfJson, isRounded, parseExact, parseJson, rewrap } from '../src/json-text.js'

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

const LONG =
  '{"id":12345678901234567890,"list":[1.10,1e400,-9007199254740993],"text":"12345678901234567890 {,} \\\\\\""}'

/** Node has it from version 22 on; tests/e2e has a browser that does. */
const knowsSource = 'rawJSON' in JSON

test.runIf(knowsSource)('numbers of 2^53 and above come out as they were written', () => {
  expect(JSON.stringify(parseExact(LONG))).toBe(LONG.replace('1.10', '1.1'))
  expect(JSON.stringify(parseExact('12345678901234567890'))).toBe('12345678901234567890')
})

test('what is rounded is known, and what was kept as it is written is not', () => {
  expect(['9007199254740993', '[{"a":1e400}]', '{"a":[1e21]}'].map(text => isRounded(JSON.parse(text)))).toEqual([
    true,
    true,
    true,
  ])
  expect(
    ['9007199254740991', '[0.1, 1.5e-7, null]', '"9007199254740993"'].map(text => isRounded(JSON.parse(text))),
  ).toEqual([false, false, false])
  expect(isRounded(parseExact(LONG))).toBe(!knowsSource)
})

test('JSON in other lines has the same strings and numbers', () => {
  expect(rewrap(rewrap(LONG, '  '), '')).toBe(LONG)
  for (const value of [{}, [], [[]], [{}, []], { a: [1, { b: [] }], c: {}, 'd:,': '"\\' }, 'x', 7, null]) {
    expect(rewrap(JSON.stringify(value), '  ')).toBe(JSON.stringify(value, null, 2))
    expect(rewrap(JSON.stringify(value, null, 2), '')).toBe(JSON.stringify(value))
  }
})
