import type { JSX } from 'preact'
import { useMemo, useRef, useState } from 'preact/hooks'
import { withQuery } from '../api.js'
import { route, say, useCalm, useNow, useResource } from '../context.js'
import { offsetOf } from '../cursor.js'
import { ago, bytes, count, duration, moment } from '../format.js'
import { useKeys } from '../keys.js'
import type { LoggedEvent, LogInfo, SeenEvent } from '../model.js'
import { EventDetail } from '../parts/event-detail.js'
import { EventList } from '../parts/event-list.js'
import { Empty, Failed, Loading } from '../parts/states.js'
import { useStore } from '../store.js'
import { Seen } from '../tail.js'

const PAGE = 100

/** What is kept, newest first. */
export function LogView(): JSX.Element {
  const { query } = useStore(route)
  const now = useNow()
  const { topic, name, before } = query
  const [selected, setSelected] = useState<SeenEvent | undefined>()
  const first = useRef<HTMLInputElement>(null)
  const info = useResource<LogInfo>('v1/log', { every: 5_000 })
  const page = useResource<{ events: LoggedEvent[]; before?: string }>(
    useCalm(withQuery('v1/log/events', { before, limit: PAGE, topic: asPattern(topic), name: name?.trim() })),
    { keep: true, exact: true },
  )
  useKeys({ '/': () => first.current?.focus(), n: () => older(), p: () => newest(), r: () => page.reload() })
  const rows = useMemo(() => {
    const events = (page.value?.events ?? []).map((event, index) => new Seen(index, event))
    return { length: events.length, newest: (back: number) => events[back] }
  }, [page.value])
  const go = (part: Readonly<Record<string, string | undefined>>) => {
    setSelected(undefined)
    say('log', { topic, name, ...part })
  }
  const older = () => (page.value?.before ? go({ before: page.value.before }) : false)
  const newest = () => (before ? go({}) : page.reload())

  return (
    <div class="view fill">
      {info.value && <Kept log={info.value} now={now} />}
      {info.error && info.error.message !== page.error?.message && <Failed error={info.error} retry={info.reload} />}
      <search class="toolbar">
        <input
          ref={first}
          value={topic ?? ''}
          placeholder="Topic, or book/*"
          aria-label="Filter by topic: a whole one, or a pattern"
          spellcheck={false}
          onInput={event => go({ topic: event.currentTarget.value })}
        />
        <input
          value={name ?? ''}
          placeholder="Name"
          aria-label="Filter by event name"
          spellcheck={false}
          onInput={event => go({ name: event.currentTarget.value })}
        />
        <button type="button" onClick={newest}>
          {before ? 'Newest' : 'Reload'}
        </button>
        <button type="button" onClick={older} disabled={!page.value?.before}>
          Older
        </button>
        <output class="soft tally">
          {before ? (
            <>
              before <code>{before}</code>
            </>
          ) : (
            'the newest'
          )}
        </output>
      </search>
      {page.error && <Failed error={page.error} retry={page.reload} />}
      <div class={`split${selected ? ' open' : ''}`}>
        <div class="card list-card">
          <div class="list-head event-row" aria-hidden="true">
            <span>Time</span>
            <span>Name</span>
            <span>Topic</span>
            <span>Data</span>
          </div>
          <EventList
            label="Kept events, newest first"
            rows={rows}
            selected={selected}
            onSelect={setSelected}
            time={event => (event.time === undefined ? '' : moment(event.time, now))}
            empty={
              page.value ? (
                <NothingKept filtered={Boolean(topic || name)} onOlder={page.value.before ? older : undefined} />
              ) : (
                !page.error && <Loading what="the log" />
              )
            }
          />
        </div>
        {selected && <EventDetail event={selected} onClose={() => setSelected(undefined)} />}
      </div>
    </div>
  )
}

function NothingKept({ filtered, onOlder }: { filtered: boolean; onOlder: (() => void) | undefined }): JSX.Element {
  if (onOlder)
    return (
      <Empty title="None so far">
        <p>The hub has looked through as much of the log as it does for one request.</p>
        <button type="button" onClick={onOlder}>
          Look further back
        </button>
      </Empty>
    )
  if (filtered)
    return <Empty title="No kept event fits">The topic is a whole one or a pattern, and the name a whole name.</Empty>
  return <Empty title="The log is empty">Events that are published stay here until retention takes them.</Empty>
}

/** What somebody types as a pattern: while it ends in a slash, it is all below. */
function asPattern(topic = ''): string {
  const said = topic.trim().replace(/^\/+/, '')
  return said.endsWith('/') ? `${said}**` : said
}

/** How much is kept, and how near each bound is. */
function Kept({ log, now }: { log: LogInfo; now: number }): JSX.Element {
  const { retention } = log
  const age = log.oldest === null ? 0 : now - log.oldest
  return (
    <div class="card kept">
      <Bound label="Events" value={log.events} most={retention.events} format={count} />
      <Bound label="Size" value={log.bytes} most={retention.bytes} format={bytes} />
      <Bound
        label="Oldest"
        value={age}
        most={retention.age}
        format={value => (value === age && log.oldest !== null ? ago(log.oldest, now) : duration(value))}
      />
      <dl>
        <dt>Broker</dt>
        <dd>{log.broker}</dd>
        <dt>Segments</dt>
        <dd>{log.segments === null ? '–' : count(log.segments)}</dd>
        <dt>Epoch</dt>
        <dd>
          <code>{log.epoch}</code>
        </dd>
        <dt>From, to</dt>
        <dd>
          <code>
            {offsetOf(log.first) ?? '–'} … {offsetOf(log.last) ?? '–'}
          </code>
        </dd>
      </dl>
    </div>
  )
}

function Bound(props: {
  label: string
  value: number
  most: number | null
  format: (value: number) => string
}): JSX.Element {
  const { label, value, most, format } = props
  const part = most ? Math.min(1, value / most) : 0
  return (
    <div class="bound">
      <span class="tile-label">{label}</span>
      <b>{format(value)}</b>
      <meter
        class="off-screen"
        min={0}
        max={most ?? 1}
        value={most ? value : 0}
        aria-label={`${label} of what may be kept`}
      />
      <div class={`track${most ? '' : ' none'}`} aria-hidden="true">
        <i style={{ width: `${part * 100}%` }} />
      </div>
      <span class="tile-note">{most ? `of ${format(most)}` : 'no bound'}</span>
    </div>
  )
}
