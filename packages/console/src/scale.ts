/** Where things are drawn in a chart. Pure. */

export interface Scale {
  /** The value at the top of the chart. */
  readonly max: number
  /** The values with a line, from 0 to `max`. */
  readonly ticks: readonly number[]
}

/** A scale from 0 whose steps are 1, 2 or 5 times a power of ten, with `lines` steps at most, that holds `highest`. */
export function niceScale(highest: number, lines = 4, least = 1): Scale {
  const top = Math.max(Number.isFinite(highest) ? highest : 0, least)
  const raw = top / lines
  const power = 10 ** Math.floor(Math.log10(raw))
  const step = ([1, 2, 5, 10].find(factor => factor * power >= raw * 0.999999) ?? 10) * power
  const steps = Math.ceil(top / step - 1e-9)
  const ticks = Array.from({ length: steps + 1 }, (_, index) => Number((index * step).toPrecision(12)))
  return { max: ticks[steps] ?? step, ticks }
}

/** A place in a chart: time in ms, and the value, or `null` where nothing is known. */
export interface Point {
  readonly time: number
  readonly value: number | null
}

/** The box that a chart draws in, in px, and what it shows. */
export interface Frame {
  readonly from: number
  readonly to: number
  readonly max: number
  readonly width: number
  readonly height: number
}

export function x(time: number, frame: Frame): number {
  return ((time - frame.from) / (frame.to - frame.from)) * frame.width
}

export function y(value: number, frame: Frame): number {
  return frame.height - (value / frame.max) * frame.height
}

/** The line through the points, as an SVG path; broken where nothing is known. */
export function linePath(points: readonly Point[], frame: Frame): string {
  let path = ''
  let drawing = false
  for (const { time, value } of points) {
    if (value === null) {
      drawing = false
      continue
    }
    path += `${drawing ? 'L' : 'M'}${x(time, frame).toFixed(1)} ${y(value, frame).toFixed(1)}`
    drawing = true
  }
  return path
}

/** The areas between `points` and `floor`, or the bottom. */
export function areaPath(points: readonly Point[], frame: Frame, floor?: readonly Point[]): string {
  let path = ''
  for (const [first, last] of runs(points)) {
    const upper = points.slice(first, last + 1)
    const lower = (floor ?? upper.map(({ time }) => ({ time, value: 0 }))).slice(...(floor ? [first, last + 1] : []))
    const corners = [...upper, ...lower.reverse()].map(
      ({ time, value }) => `${x(time, frame).toFixed(1)} ${y(value ?? 0, frame).toFixed(1)}`,
    )
    path += `M${corners.join('L')}Z`
  }
  return path
}

/** The stretches of points whose value is known, as first and last index. */
function runs(points: readonly Point[]): [number, number][] {
  const found: [number, number][] = []
  let first = -1
  points.forEach(({ value }, index) => {
    if (value !== null && first < 0) first = index
    if (value === null && first >= 0) {
      found.push([first, index - 1])
      first = -1
    }
  })
  if (first >= 0) found.push([first, points.length - 1])
  return found
}

/** The index of the point nearest to `time`; -1 if there is none. Points are in the order of time. */
export function nearest(points: readonly { readonly time: number }[], time: number): number {
  let low = 0
  let high = points.length
  while (low < high) {
    const middle = (low + high) >> 1
    if ((points[middle]?.time ?? 0) < time) low = middle + 1
    else high = middle
  }
  if (points.length === 0) return -1
  const after = points[low]
  const before = points[low - 1]
  if (!after) return points.length - 1
  if (!before) return 0
  return after.time - time < time - before.time ? low : low - 1
}
