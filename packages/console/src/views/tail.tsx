import type { JSX } from 'preact'
import { useEffect, useMemo, useRef, useState } from 'preact/hooks'
import { route, say, useHub } from '../context.js'
import { isEmpty, type TailFilter } from '../filter.js'
import { count, rate } from '../format.js'
import { useKeys } from '../keys.js'
import type { SeenEvent } from '../model.js'
import { EventDetail } from '../parts/event-detail.js'
import { EventList } from '../parts/event-list.js'
import { Icon } from '../parts/icons.js'
import { Empty } from '../parts/states.js'
import { useStore } from '../store.js'

/** What happens, as it happens. */
export function TailView(): JSX.Element {
  const { tail, live, who } = useHub()
  const { grants } = who
  useStore(tail.version)
  const { status } = useStore(live)
  const { query } = useStore(route)
  const [selected, setSelected] = useState<SeenEvent | undefined>()
  const first = useRef<HTMLInputElement>(null)
  const list = useRef<HTMLDivElement>(null)
  const paused = tail.held.has('pause')
  const perSecond = useMeter(() => tail.total)

  const filter: TailFilter = { topic: query.topic ?? '', name: query.name ?? '', text: query.text ?? '' }
  const { topic, name, text } = filter
  // Before it is drawn: nothing is shown for a moment that the filter keeps back.
  useMemo(() => tail.setFilter({ topic, name, text }), [tail, topic, name, text])
  // The other views show no tail: nothing is put aside for them, but a pause stays one.
  useEffect(
    () => () => {
      tail.release('open')
      tail.release('scroll')
    },
    [tail],
  )
  const change = (part: Partial<TailFilter>) => say('tail', { ...filter, ...part })
  const select = (event: SeenEvent | undefined) => {
    setSelected(event)
    if (event) tail.hold('open')
    else tail.release('open')
  }
  const pause = () => (paused ? tail.release('pause') : tail.hold('pause'))
  const newest = () => {
    list.current?.querySelector('.event-list')?.scrollTo({ top: 0 })
    select(undefined)
    tail.release('scroll')
    tail.release('pause')
  }
  const clear = () => {
    select(undefined)
    tail.clear()
  }
  useKeys({ space: pause, '/': () => first.current?.focus() })

  return (
    <div class="view fill">
      <search class="toolbar">
        <input
          ref={first}
          value={topic}
          placeholder="Topic, or book/*"
          aria-label="Filter by topic: a pattern, or a part of it"
          spellcheck={false}
          onInput={event => change({ topic: event.currentTarget.value })}
        />
        <input
          value={name}
          placeholder="Name"
          aria-label="Filter by event name"
          spellcheck={false}
          onInput={event => change({ name: event.currentTarget.value })}
        />
        <input
          value={text}
          placeholder="Text in the data"
          aria-label="Filter by text in the data"
          spellcheck={false}
          onInput={event => change({ text: event.currentTarget.value })}
        />
        <button type="button" class="toggle" aria-pressed={paused} onClick={pause} title="space">
          <Icon name={paused ? 'play' : 'pause'} /> {paused ? 'Resume' : 'Pause'}
        </button>
        <button type="button" onClick={clear}>
          <Icon name="trash" /> Clear
        </button>
        <output class="soft tally" aria-live="off">
          {isEmpty(filter) ? `${count(tail.kept)} shown` : `${count(tail.events.length)} of ${count(tail.kept)}`},{' '}
          {rate(perSecond)}/s
        </output>
      </search>
      {!grants.includes('**') && (
        <div class="notice">
          <span>
            This key does not hold the grant <code>**</code>: of what comes, it shows what its grants let it see. The
            log shows all.
          </span>
        </div>
      )}
      <div class={`split${selected ? ' open' : ''}`} ref={list}>
        <div class="card list-card">
          <div class="list-head event-row" aria-hidden="true">
            <span>Time</span>
            <span>Name</span>
            <span>Topic</span>
            <span>Data</span>
          </div>
          <EventList
            label="Events, newest first"
            rows={tail.events}
            selected={selected}
            onSelect={select}
            onAway={away => (away ? tail.hold('scroll') : tail.release('scroll'))}
            empty={<NoEvents filtered={!isEmpty(filter) && tail.kept > 0} open={status === 'open'} />}
          />
          {tail.waiting > 0 && (
            <button type="button" class="waiting" onClick={newest}>
              <Icon name="up" /> {count(tail.waiting)} new{tail.lost > 0 ? `, ${count(tail.lost)} of them let go` : ''}
            </button>
          )}
        </div>
        {selected && <EventDetail event={selected} onClose={() => select(undefined)} />}
      </div>
    </div>
  )
}

function NoEvents({ filtered, open }: { filtered: boolean; open: boolean }): JSX.Element {
  if (filtered)
    return <Empty title="No event fits the filter">It is applied to what comes, too: wait, or ask for less.</Empty>
  if (!open) return <Empty title="Not connected yet">Events appear as soon as the hub answers.</Empty>
  return (
    <Empty title="Nothing has happened yet">
      <p>
        Publish something on the page <a href="#/publish">Publish</a>, or from a shell:
      </p>
      <pre>{`curl --json '{"name":"greeting","topic":"hello/world","data":{"text":"hi"}}' ${location.origin}/v1/publish`}</pre>
    </Empty>
  )
}

/** How fast a count grows, per second, over the last seconds. */
function useMeter(read: () => number): number {
  const [perSecond, setPerSecond] = useState(0)
  const latest = useRef(read)
  latest.current = read
  useEffect(() => {
    const seen: number[] = [latest.current()]
    const timer = setInterval(() => {
      seen.push(latest.current())
      if (seen.length > 4) seen.shift()
      setPerSecond(((seen.at(-1) ?? 0) - (seen[0] ?? 0)) / (seen.length - 1))
    }, 1000)
    return () => clearInterval(timer)
  }, [])
  return perSecond
}
