import { describe, expect, it } from 'vitest'
import { reconnectDelay } from '../src/backoff.js'

describe('the delay before coming back', () => {
  const backoff = { base: 1_000, cap: 30_000 }

  it('doubles with each attempt, up to its cap', () => {
    expect([0, 1, 2, 3, 4, 5, 6, 2_000].map(attempt => reconnectDelay(attempt, backoff, () => 1))).toEqual([
      1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000,
    ])
  })

  it('is anything between nothing and that', () => {
    expect([0, 0.25, 0.5].map(random => reconnectDelay(2, backoff, () => random))).toEqual([0, 1_000, 2_000])
  })

  it('comes on top of what a `Retry-After` asks for, so that not all come back in one moment', () => {
    expect(reconnectDelay(0, backoff, () => 0, 5_000)).toBe(5_000)
    expect(reconnectDelay(0, backoff, () => 0.5, 5_000)).toBe(5_500)
  })

  it('is none with a base of 0', () => expect(reconnectDelay(5_000, { base: 0, cap: 1 }, () => 1)).toBe(0))

  it('needs no arguments but the attempt', () => {
    const delay = reconnectDelay(3)
    expect(delay).toBeGreaterThanOrEqual(0)
    expect(delay).toBeLessThanOrEqual(8_000)
  })
})
