import type { JSX } from 'preact'
import { useMemo } from 'preact/hooks'
import { useHub, useNow, useResource } from '../context.js'
import { ago, bytes, clock, count, duration, latency, rate } from '../format.js'
import { SPAN } from '../hub.js'
import type { LogInfo, Stats } from '../model.js'
import { Chart, type Line } from '../parts/chart.js'
import { Loading } from '../parts/states.js'
import { TRANSPORTS } from '../parts/transport.js'
import { grown, lately, points, rates } from '../series.js'
import { useStore } from '../store.js'

/** ms that the charts show at least. */
const LEAST = 60_000

/** ms without a figure after which those that are shown are old: they come each second. */
const OLD = 4_000

/** How the hub is. */
export function OverviewView(): JSX.Element {
  const hub = useHub()
  const samples = useStore(hub.stats)
  useStore(hub.tail.version)
  const old = useNow() - hub.counted > OLD
  const log = useResource<LogInfo>('v1/log', { every: 5_000 }).value
  const series = useMemo(() => rates(samples), [samples])
  const now = samples.at(-1)
  if (!now) return <Loading what="statistics" />
  const to = now.time
  // A hub that has just begun fills the charts too.
  const from = Math.max(to - SPAN * 1000, Math.min(samples[0]?.time ?? to, to - LEAST))
  const open = Object.values(now.streams).reduce((sum, n) => sum + n, 0)
  const curve = (read: (rate: (typeof series)[number]) => number | null) => points(series, read)
  const gaps = grown(samples, SPAN * 1000, stats => stats.gaps)
  const errors = grown(samples, SPAN * 1000, stats => stats.publish_errors)
  const others = Object.keys(now.streams).filter(name => !TRANSPORTS.some(known => known.name === name))
  const connections: Line[] = [
    ...TRANSPORTS.map(({ name, label, color }) => ({
      label,
      color,
      points: points(samples, stats => stats.streams[name] ?? 0),
    })),
    ...others.map(name => ({
      label: name,
      color: 5 as const,
      points: points(samples, stats => stats.streams[name] ?? 0),
    })),
  ]

  return (
    <div class={`view${old ? ' old' : ''}`}>
      {old && (
        <div class="notice warn" role="status">
          <span>As of {clock(hub.counted)}: the hub has sent no figures since.</span>
        </div>
      )}
      <div class="tiles">
        <Tile label="Connections" value={count(open)} note={`${count(now.closed)} ended`} />
        <Tile
          label="Deliveries"
          value={`${rate(lately(series, 5_000, r => r.delivered) ?? 0)}/s`}
          note={`${bytes(lately(series, 5_000, r => r.bytes) ?? 0)}/s`}
        />
        <Tile
          label="Events"
          value={`${rate(lately(series, 5_000, r => r.events) ?? 0)}/s`}
          note={`+ ${rate(lately(series, 5_000, r => r.signals) ?? 0)} signals/s`}
        />
        <Tile label="Latency p99" value={latency(now.latency?.p99)} note={`p50 ${latency(now.latency?.p50)}`} />
        <Tile
          label="Behind"
          value={count(now.behind)}
          note={now.behind ? 'slow readers' : 'all have all'}
          level={now.behind ? 'warn' : undefined}
        />
        <Tile
          label="Gaps"
          value={count(now.gaps)}
          note={gaps ? `${count(gaps)} in 5 min` : 'none in 5 min'}
          level={gaps ? 'warn' : undefined}
        />
        <Tile
          label="Publish errors"
          value={count(now.publish_errors)}
          note={errors ? `${count(errors)} in 5 min` : 'none in 5 min'}
          level={errors ? 'bad' : undefined}
        />
        <Tile
          label="Log"
          value={log ? bytes(log.bytes) : '–'}
          note={log ? `${count(log.events)} events` : ' '}
          href="#/log"
        />
      </div>
      <div class="charts">
        <Chart
          title="Deliveries per second"
          from={from}
          to={to}
          format={rate}
          lines={[{ label: 'delivered', color: 1, points: curve(r => r.delivered) }]}
        />
        <Chart
          title="Published per second"
          from={from}
          to={to}
          format={rate}
          lines={[
            { label: 'events', color: 2, points: curve(r => r.events) },
            { label: 'signals', color: 3, points: curve(r => r.signals) },
          ]}
        />
        <Chart title="Connections" from={from} to={to} format={count} stacked least={4} lines={connections} />
        <Chart
          title="Latency, publish to socket"
          from={from}
          to={to}
          format={latency}
          least={2}
          lines={[
            { label: 'p50', color: 2, points: points(samples, stats => stats.latency?.p50 ?? null) },
            { label: 'p99', color: 4, points: points(samples, stats => stats.latency?.p99 ?? null) },
          ]}
        />
      </div>
      <div class="below">
        <Newest />
        <Process now={now} cpu={lately(series, 5_000, r => r.cpu)} log={log} />
      </div>
    </div>
  )
}

function Tile(props: {
  label: string
  value: string
  note: string
  level?: 'warn' | 'bad' | undefined
  href?: string
}): JSX.Element {
  const inner = (
    <>
      <span class="tile-label">{props.label}</span>
      <b>{props.value}</b>
      <span class="tile-note">{props.note}</span>
    </>
  )
  const name = `tile card ${props.level ?? ''}`
  return props.href ? (
    <a class={name} href={props.href}>
      {inner}
    </a>
  ) : (
    <div class={name}>{inner}</div>
  )
}

/** The last few events: the way into the tail. */
function Newest(): JSX.Element {
  const { tail } = useHub()
  const events = tail.newest(7)
  return (
    <section class="card newest">
      <header>
        <h2>Newest events</h2>
        <a href="#/tail">Tail</a>
      </header>
      {events.length === 0 && (
        <p class="soft">{tail.total === 0 ? 'Nothing has happened yet.' : 'None since the tail was cleared.'}</p>
      )}
      <ul>
        {events.map(event => (
          <li key={event.number}>
            <span class="at">{clock(event.time)}</span>
            <span class="name">{event.name}</span>
            <span class="topic">{event.topic}</span>
          </li>
        ))}
      </ul>
    </section>
  )
}

function Process({ now, cpu, log }: { now: Stats; cpu: number | null; log: LogInfo | undefined }): JSX.Element {
  return (
    <section class="card facts">
      <header>
        <h2>Program</h2>
        <span class="soft">{now.version}</span>
      </header>
      <dl>
        <dt>Running for</dt>
        <dd>{duration(now.time - now.started)}</dd>
        <dt>Memory</dt>
        <dd>{bytes(now.rss)}</dd>
        <dt>CPU</dt>
        <dd>{cpu === null ? '–' : `${(cpu * 100).toFixed(cpu < 0.1 ? 1 : 0)} % of a core`}</dd>
        <dt>Open files</dt>
        <dd>{count(now.descriptors)}</dd>
        <dt>Log</dt>
        <dd>{log ? log.broker : '–'}</dd>
        <dt>Oldest event</dt>
        <dd>{log ? ago(log.oldest, now.time) : '–'}</dd>
      </dl>
    </section>
  )
}
