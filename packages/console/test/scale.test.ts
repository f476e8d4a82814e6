import { describe, expect, test } from 'vitest'
import { areaPath, linePath, nearest, niceScale } from '../src/scale.js'

describe('a scale', () => {
  test.each([
    [0, 1, [0, 0.5, 1]],
    [3.2, 1, [0, 1, 2, 3, 4]],
    [7, 1, [0, 2, 4, 6, 8]],
    [100, 1, [0, 50, 100]],
    [4321, 1, [0, 2000, 4000, 6000]],
    [0.2, 2, [0, 0.5, 1, 1.5, 2]],
  ])('up to %d, and to %d at least, has the lines %j', (highest, least, ticks) => {
    expect(niceScale(highest, 4, least)).toEqual({ max: ticks.at(-1), ticks })
  })

  test('holds every value, with few lines', () => {
    for (let value = 0.001; value < 1e9; value *= 1.37) {
      const { max, ticks } = niceScale(value, 4, 0.001)
      expect(max).toBeGreaterThanOrEqual(value)
      expect(ticks.length).toBeLessThanOrEqual(5)
    }
  })

  test('is not led astray by what is no number', () => {
    expect(niceScale(Number.NaN).max).toBe(1)
  })
})

const frame = { from: 0, to: 10, max: 10, width: 100, height: 100 }
const points = [
  { time: 0, value: 0 },
  { time: 5, value: 10 },
  { time: 6, value: null },
  { time: 10, value: 5 },
]

test('a line is broken where nothing is known', () => {
  expect(linePath(points, frame)).toBe('M0.0 100.0L50.0 0.0M100.0 50.0')
})

test('an area ends where nothing is known, and stands on the one below', () => {
  expect(areaPath(points, frame)).toBe('M0.0 100.0L50.0 0.0L50.0 100.0L0.0 100.0ZM100.0 50.0L100.0 100.0Z')
  const floor = points.map(({ time }) => ({ time, value: 1 }))
  expect(areaPath(points.slice(0, 2), frame, floor)).toBe('M0.0 100.0L50.0 0.0L50.0 90.0L0.0 90.0Z')
})

test('the nearest point is found on both sides and at the ends', () => {
  expect([-3, 2, 3, 5.4, 8, 99].map(time => nearest(points, time))).toEqual([0, 0, 1, 1, 2, 3])
  expect(nearest([], 1)).toBe(-1)
})
