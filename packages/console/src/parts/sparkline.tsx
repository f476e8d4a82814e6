import type { JSX } from 'preact'
import { areaPath, linePath } from '../scale.js'

/** A small curve without axes; `values` are evenly spaced, and the newest is at the right end of `room` places. */
export function Sparkline({
  values,
  room = 30,
  label,
}: {
  values: readonly number[]
  room?: number
  label: string
}): JSX.Element {
  const width = 96
  const height = 20
  const shown = values.slice(-room)
  const points = shown.map((value, index) => ({ time: room - shown.length + index, value }))
  const frame = { from: 0, to: room - 1, max: Math.max(1, ...shown) * 1.1, width, height }
  return (
    <svg
      class="sparkline"
      width={width}
      height={height}
      viewBox={`0 0 ${width} ${height}`}
      role="img"
      aria-label={label}
    >
      <path class="unknown" d={`M0 ${height - 0.5}H${(((room - shown.length) / (room - 1)) * width).toFixed(1)}`} />
      <path class="area" d={areaPath(points, frame)} />
      <path class="line" d={linePath(points, frame)} />
    </svg>
  )
}
