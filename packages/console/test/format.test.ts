import { expect, test } from 'vitest'
import { ago, bytes, clock, count, duration, latency, rate } from '../src/format.js'

test('counts are short, and exact as long as they are small', () => {
  expect([0, 999, 12_345, 123_456, 1_234_567, 2e9].map(count)).toEqual(['0', '999', '12,345', '123 k', '1.23 M', '2 G'])
  expect(count(Number.NaN)).toBe('–')
})

test('rates have a digit behind the point only where it matters', () => {
  expect([0, 0.04, 2, 9.96, 57.4, 10_000].map(rate)).toEqual(['0', '< 0.1', '2', '10', '57', '10,000'])
})

test('sizes are binary', () => {
  expect([0, 999, 1024, 1.5 * 1024 ** 2, 204 * 1024 ** 2, 3 * 1024 ** 4].map(bytes)).toEqual([
    '0 B',
    '999 B',
    '1 KiB',
    '1.5 MiB',
    '204 MiB',
    '3 TiB',
  ])
})

test('a latency that is not known is said so', () => {
  expect([0.42, 12.4, 1234, null, undefined].map(latency)).toEqual(['0.4 ms', '12 ms', '1.23 s', '–', '–'])
})

test('durations are one or two words', () => {
  expect([900, 59_000, 61_000, 3_600_000, 7_500_000, 90_000_000, 40 * 86_400_000].map(duration)).toEqual([
    '0 s',
    '59 s',
    '1 min',
    '1 h',
    '2 h 5 min',
    '1 d 1 h',
    '40 d',
  ])
  expect([ago(1000, 1500), ago(1000, 4000), ago(undefined, 0)]).toEqual(['now', '3 s ago', '–'])
})

test('the time of the day has ms where it is asked for', () => {
  const time = new Date(2026, 10, 21, 9, 5, 7, 42).getTime()
  expect([clock(time), clock(time, true), clock(undefined)]).toEqual(['09:05:07', '09:05:07.042', ''])
})
