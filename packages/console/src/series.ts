import type { Stats } from './model.js'
import type { Point } from './scale.js'

/** What happened in the second before a sample; `null` where that can't be said: after a restart, or a hole. */
export interface Rates {
  readonly time: number
  readonly delivered: number | null
  readonly bytes: number | null
  readonly events: number | null
  readonly signals: number | null
  /** Of one core, 0 to 1 and above. */
  readonly cpu: number | null
}

/** A sample later than this (ms) after the one before leaves a hole in the charts. */
const HOLE = 5_000

/** Rates from counts: `samples` are in the order of time. The first has nothing to be compared with. */
export function rates(samples: readonly Stats[]): Rates[] {
  return samples.map((sample, index) => between(samples[index - 1], sample))
}

function between(before: Stats | undefined, now: Stats): Rates {
  const ms = before ? now.time - before.time : 0
  const known = before !== undefined && before.started === now.started && ms > 0 && ms < HOLE
  const per = (read: (stats: Stats) => number) => (known ? Math.max(0, ((read(now) - read(before)) * 1000) / ms) : null)
  return {
    time: now.time,
    delivered: per(stats => stats.delivered),
    bytes: per(stats => stats.delivered_bytes),
    events: per(stats => stats.events),
    signals: per(stats => stats.signals),
    cpu: per(stats => stats.cpu_seconds),
  }
}

/** The points of a chart, with a hole put in wherever samples are missing. */
export function points<T extends { readonly time: number }>(
  samples: readonly T[],
  read: (sample: T) => number | null,
): Point[] {
  const drawn: Point[] = []
  for (const sample of samples) {
    const before = drawn.at(-1)
    if (before && sample.time - before.time > HOLE) drawn.push({ time: before.time + 1, value: null })
    drawn.push({ time: sample.time, value: read(sample) })
  }
  return drawn
}

/** How much a count has grown over the last `ms`, within one run of the hub. */
export function grown(samples: readonly Stats[], ms: number, read: (stats: Stats) => number): number {
  const now = samples.at(-1)
  if (!now) return 0
  const first = samples.find(sample => sample.started === now.started && sample.time >= now.time - ms)
  return first ? read(now) - read(first) : 0
}

/** The average of the known rates over the last `ms`. */
export function lately(series: readonly Rates[], ms: number, read: (rates: Rates) => number | null): number | null {
  const now = series.at(-1)
  if (!now) return null
  const known = series
    .filter(({ time }) => time > now.time - ms)
    .map(read)
    .filter(value => value !== null)
  return known.length ? known.reduce((sum, value) => sum + value, 0) / known.length : null
}
