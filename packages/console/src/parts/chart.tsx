import type { JSX } from 'preact'
import { useEffect, useRef, useState } from 'preact/hooks'
import { clock } from '../format.js'
import { areaPath, type Frame, linePath, nearest, niceScale, type Point, x, y } from '../scale.js'

export interface Line {
  readonly label: string
  /** Of the palette in base.css: `--c1` to `--c5`. */
  readonly color: 1 | 2 | 3 | 4 | 5
  readonly points: readonly Point[]
}

interface ChartProps {
  readonly title: string
  readonly lines: readonly Line[]
  /** ms since 1970. */
  readonly from: number
  readonly to: number
  readonly format: (value: number) => string
  /** Lines lie on top of each other, and their heights add up. */
  readonly stacked?: boolean
  /** The least top of the scale, so that noise near 0 does not fill the chart. */
  readonly least?: number
}

const HEIGHT = 146
const LEFT = 52
const BOTTOM = 18
const TOP = 8

/** Curves over time, with their values at the pointer, or now. Arrow keys move along the time. */
export function Chart(props: ChartProps): JSX.Element {
  const { lines, from, to, format } = props
  const box = useRef<HTMLDivElement>(null)
  const width = useWidth(box)
  const [at, setAt] = useState<number | undefined>()
  const drawn = props.stacked ? stack(lines) : lines.map(line => ({ ...line, top: line.points }))
  // Of stacked lines the lower ones last: one that adds nothing lies on the one below, and would hide it.
  const painted = props.stacked ? drawn.toReversed() : drawn
  const highest = Math.max(0, ...drawn.flatMap(line => line.top.map(({ value }) => value ?? 0)))
  const scale = niceScale(highest, 4, props.least ?? 1)
  const frame: Frame = { from, to, max: scale.max, width: Math.max(1, width - LEFT - 8), height: HEIGHT - BOTTOM - TOP }
  const times = lines[0]?.points ?? []
  const index = at === undefined ? times.length - 1 : nearest(times, at)
  const shown = times[index]
  const values = lines.map(line => line.points[index]?.value ?? null)

  const point = (event: PointerEvent) => {
    const left = box.current?.getBoundingClientRect().left ?? 0
    setAt(from + ((event.clientX - left - LEFT) / frame.width) * (to - from))
  }
  const step = (event: KeyboardEvent) => {
    const by = { ArrowLeft: -1, ArrowRight: 1, PageUp: -30, PageDown: 30 }[event.key]
    if (event.key === 'Escape') setAt(undefined)
    if (!by) return
    event.preventDefault()
    setAt(times[Math.min(times.length - 1, Math.max(0, index + by))]?.time)
  }
  const said = lines.map((line, n) => `${line.label} ${say(values[n] ?? null, format)}`).join(', ')

  return (
    <figure class="card chart">
      <figcaption>
        <h2>{props.title}</h2>
        <ul class="legend">
          {lines.map((line, n) => (
            <li key={line.label}>
              <i class={`swatch c${line.color}`} />
              {line.label} <b>{say(values[n] ?? null, format)}</b>
            </li>
          ))}
        </ul>
      </figcaption>
      <div
        ref={box}
        class="plot"
        // biome-ignore lint/a11y/noNoninteractiveTabindex: arrow keys move along the time.
        tabIndex={0}
        role="img"
        aria-label={`${props.title} over time. At ${clock(shown?.time)}: ${said}`}
        onPointerMove={point}
        onPointerLeave={() => setAt(undefined)}
        onBlur={() => setAt(undefined)}
        onKeyDown={step}
      >
        {width > 0 && (
          <svg width={width} height={HEIGHT} aria-hidden="true">
            <g transform={`translate(${LEFT} ${TOP})`}>
              {scale.ticks.map(tick => (
                <g key={tick} class="tick" transform={`translate(0 ${y(tick, frame).toFixed(1)})`}>
                  <line x2={frame.width} />
                  <text x={-8} dy="0.32em" text-anchor="end">
                    {format(tick)}
                  </text>
                </g>
              ))}
              {minutes(from, to).map(time => (
                <text key={time} class="time" x={x(time, frame)} y={frame.height + 14} text-anchor="middle">
                  {clock(time).slice(0, 5)}
                </text>
              ))}
              {drawn.map((line, n) => (
                <path
                  key={line.label}
                  class={`area c${line.color}`}
                  d={areaPath(line.top, frame, props.stacked && n > 0 ? drawn[n - 1]?.top : undefined)}
                />
              ))}
              {painted.map(line => (
                <path key={line.label} class={`line c${line.color}`} d={linePath(line.top, frame)} />
              ))}
              {at !== undefined && shown && (
                <g class="here">
                  <line x1={x(shown.time, frame)} x2={x(shown.time, frame)} y2={frame.height} />
                  {painted.map(line => {
                    const value = line.top[index]?.value
                    return value === null || value === undefined ? null : (
                      <circle
                        key={line.label}
                        class={`c${line.color}`}
                        cx={x(shown.time, frame)}
                        cy={y(value, frame)}
                        r={3}
                      />
                    )
                  })}
                </g>
              )}
            </g>
          </svg>
        )}
        {at !== undefined && shown && (
          <span
            class="when"
            style={{ left: `${Math.min(width - 70, Math.max(LEFT, LEFT + x(shown.time, frame) - 30))}px` }}
          >
            {clock(shown.time)}
          </span>
        )}
      </div>
    </figure>
  )
}

function say(value: number | null, format: (value: number) => string): string {
  return value === null ? '–' : format(value)
}

/** The full minutes between two times. */
function minutes(from: number, to: number): number[] {
  const first = Math.ceil(from / 60_000) * 60_000
  const all: number[] = []
  for (let time = first; time < to - 8_000; time += 60_000) if (time > from + 8_000) all.push(time)
  return all
}

function stack(lines: readonly Line[]): (Line & { top: Point[] })[] {
  let below: Point[] | undefined
  return lines.map(line => {
    const top = line.points.map(({ time, value }, index) => ({
      time,
      value: value === null ? null : value + (below?.[index]?.value ?? 0),
    }))
    below = top
    return { ...line, top }
  })
}

function useWidth(box: { readonly current: HTMLElement | null }): number {
  const [width, setWidth] = useState(0)
  useEffect(() => {
    const element = box.current
    if (!element) return
    const observer = new ResizeObserver(entries => setWidth(Math.floor(entries[0]?.contentRect.width ?? 0)))
    observer.observe(element)
    return () => observer.disconnect()
  }, [box])
  return width
}
