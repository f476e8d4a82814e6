import { expect, test } from 'vitest'
import type { Stats } from '../src/model.js'
import { grown, lately, points, rates } from '../src/series.js'

const sample = (second: number, delivered: number, started = 0): Stats => ({
  time: second * 1000,
  started,
  version: '0.1.0',
  streams: { sse: 1 },
  delivered,
  delivered_bytes: delivered * 100,
  events: delivered,
  signals: 0,
  publish_errors: 0,
  gaps: 0,
  behind: 0,
  opened: 1,
  closed: 0,
  latency: null,
  rss: 0,
  cpu_seconds: second / 2,
  descriptors: 1,
})

test('a rate is what a count grew by, per second', () => {
  const [first, second, third] = rates([sample(1, 100), sample(2, 150), sample(4, 250)])
  expect(first?.delivered).toBeNull()
  expect(second).toMatchObject({ delivered: 50, bytes: 5000, cpu: 0.5 })
  expect(third?.delivered).toBe(50)
})

test('a restart of the hub and a hole in the samples make no rate', () => {
  const [, restarted, late] = rates([sample(1, 900), sample(2, 3, 1500), sample(60, 5, 1500)])
  expect([restarted?.delivered, late?.delivered]).toEqual([null, null])
})

test('a hole in the samples is a hole in the line', () => {
  const drawn = points([sample(1, 1), sample(2, 2), sample(30, 3)], stats => stats.delivered)
  expect(drawn.map(({ value }) => value)).toEqual([1, 2, null, 3])
})

test('what has grown counts this run of the hub alone', () => {
  const samples = [sample(1, 900), sample(2, 5, 1500), sample(3, 9, 1500)]
  expect(grown(samples, 60_000, stats => stats.delivered)).toBe(4)
  expect(grown([], 60_000, stats => stats.delivered)).toBe(0)
})

test('the average leaves out what is not known', () => {
  const series = rates([sample(1, 0), sample(2, 10), sample(3, 40)])
  expect(lately(series, 5000, rate => rate.delivered)).toBe(20)
  expect(lately([], 5000, rate => rate.delivered)).toBeNull()
})
