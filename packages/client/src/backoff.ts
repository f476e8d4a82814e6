import type { Backoff } from './types.js'

/** How long to wait without any advice, in ms. */
export const DEFAULT_BACKOFF: Backoff = { base: 1_000, cap: 30_000 }

/** The least `retry:` that is heeded, in ms: a server that says 0 and ends would be asked without pause. */
export const LEAST_RETRY = 100

/**
 * How long to wait before coming back, in ms: anything between 0 and `base * 2^attempt`, `cap` at most ("full jitter"), so that the
 * clients of a hub that went down do not come back together. `attempt` is how many have failed before, from 0.
 *
 * `least` is what a `Retry-After` asked for: it is waited in any case, and the random part comes on top, for it was told to everybody alike.
 */
export function reconnectDelay(
  attempt: number,
  { base, cap }: Backoff = DEFAULT_BACKOFF,
  random: () => number = Math.random,
  least = 0,
): number {
  // 0 times infinity is no number.
  const spread = Math.min(cap, base * 2 ** attempt || 0)
  return least + Math.floor(random() * spread)
}
