import type { ComponentChildren, JSX } from 'preact'
import { useEffect, useRef, useState } from 'preact/hooks'
import { useNarrow } from '../context.js'
import { clock } from '../format.js'
import { useKeys } from '../keys.js'
import type { SeenEvent } from '../model.js'

/** Events, the newest first. */
export interface Rows {
  readonly length: number
  /** The one `back` places before the newest. */
  newest(back: number): SeenEvent | undefined
}

interface EventListProps {
  readonly label: string
  readonly rows: Rows
  readonly selected: SeenEvent | undefined
  readonly onSelect: (event: SeenEvent | undefined) => void
  /** Whether the newest is out of sight. */
  readonly onAway?: (away: boolean) => void
  /** How a time is said; with ms if left out. */
  readonly time?: (event: SeenEvent) => string
  readonly empty: ComponentChildren
  readonly end?: ComponentChildren
}

/** Rows drawn beyond the edges, so that scrolling shows no blank. */
const SPARE = 6
/** Characters of the data that can be seen in a row at most. */
const PREVIEW = 240

/** When an event was. A gap has no time: it is known when it was noticed, which is later than what stands above it. */
function timeOf(event: SeenEvent, narrow: boolean, say: EventListProps['time']): string {
  if (event.gap !== undefined) return ''
  return say ? say(event) : clock(event.time, !narrow)
}

/** A list of which only the rows in sight are drawn. j and k move in it, Escape closes what is open. */
export function EventList(props: EventListProps): JSX.Element {
  const { rows, selected, onSelect, onAway } = props
  const box = useRef<HTMLDivElement>(null)
  const [top, setTop] = useState(0)
  const [height, setHeight] = useState(600)
  const narrow = useNarrow()
  const rowHeight = narrow ? 46 : 27

  useEffect(() => {
    const element = box.current
    if (!element) return
    const observer = new ResizeObserver(() => setHeight(element.clientHeight))
    observer.observe(element)
    return () => observer.disconnect()
  }, [])

  const place = () => {
    for (let back = 0; selected && back < rows.length; back++)
      if (rows.newest(back)?.number === selected.number) return back
    return -1
  }
  const move = (by: number) => {
    const to = Math.min(rows.length - 1, Math.max(0, selected ? place() + by : 0))
    const event = rows.newest(to)
    if (event) onSelect(event)
    const element = box.current
    if (!element) return
    if (to * rowHeight < element.scrollTop) element.scrollTop = to * rowHeight
    else if ((to + 1) * rowHeight > element.scrollTop + height) element.scrollTop = (to + 1) * rowHeight - height
  }
  useKeys({
    j: () => move(1),
    k: () => move(-1),
    ArrowDown: () => move(1),
    ArrowUp: () => move(-1),
    Escape: () => (selected ? onSelect(undefined) : false),
  })

  const first = Math.max(0, Math.floor(top / rowHeight) - SPARE)
  const last = Math.min(rows.length, Math.ceil((top + height) / rowHeight) + SPARE)
  const drawn: JSX.Element[] = []
  for (let back = first; back < last; back++) {
    const event = rows.newest(back)
    if (!event) continue
    const open = event.number === selected?.number
    drawn.push(
      // biome-ignore lint/a11y/useFocusableInteractive lint/a11y/useKeyWithClickEvents: the list has the focus and the keys.
      <div
        key={event.number}
        id={`event-${event.number}`}
        role="option"
        aria-selected={open}
        aria-posinset={back + 1}
        aria-setsize={rows.length}
        class={`event-row${event.gap !== undefined ? ' gap' : event.cursor === undefined ? ' signal' : ''}`}
        style={{ transform: `translateY(${back * rowHeight}px)` }}
        onClick={() => onSelect(open ? undefined : event)}
      >
        <span class="at">{timeOf(event, narrow, props.time)}</span>
        {event.gap !== undefined ? (
          <span class="why">{event.gap}</span>
        ) : (
          <>
            <span class="name">{event.name}</span>
            <span class="topic">{event.topic}</span>
            <span class="data">
              {event.rounded && <abbr title="Numbers of 2^53 and above are rounded here; open it to see them">≈</abbr>}
              {event.text.length > PREVIEW ? `${event.text.slice(0, PREVIEW)}…` : event.text}
            </span>
          </>
        )}
      </div>,
    )
  }
  return (
    <div
      ref={box}
      class="event-list"
      role="listbox"
      aria-label={props.label}
      aria-activedescendant={selected ? `event-${selected.number}` : undefined}
      tabIndex={0}
      onScroll={() => {
        const to = box.current?.scrollTop ?? 0
        setTop(to)
        onAway?.(to > rowHeight / 2)
      }}
    >
      <div class="rows" style={{ height: `${rows.length * rowHeight}px` }}>
        {drawn}
      </div>
      {rows.length === 0 && props.empty}
      {props.end}
    </div>
  )
}
