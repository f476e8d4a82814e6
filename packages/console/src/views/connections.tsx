import type { JSX } from 'preact'
import { useRef, useState } from 'preact/hooks'
import { ApiError } from '../api.js'
import { route, say, useHub, useNow, useResource } from '../context.js'
import { count, duration } from '../format.js'
import { useKeys } from '../keys.js'
import type { OpenStream } from '../model.js'
import { Confirm } from '../parts/dialog.js'
import { Empty, Failed, Loading, Outcome } from '../parts/states.js'
import { type Column, Table } from '../parts/table.js'
import { Transport } from '../parts/transport.js'
import { formatRoute } from '../route.js'
import { useStore } from '../store.js'

/** Rows that are drawn at most: who has more open narrows the filter. */
const MOST = 500

/** Who is connected, how, and how far behind. */
export function ConnectionsView(): JSX.Element {
  const hub = useHub()
  const { query } = useStore(route)
  const now = useNow()
  const list = useResource<{ streams: OpenStream[] }>('v1/streams', { every: 2_000 })
  const [asked, setAsked] = useState<OpenStream | undefined>()
  const [said, setSaid] = useState<string | undefined>()
  const filter = useRef<HTMLInputElement>(null)
  useKeys({ '/': () => filter.current?.focus() })

  const disconnect = async (stream: OpenStream) => {
    try {
      await hub.ask(`v1/streams/${encodeURIComponent(stream.id)}`, { method: 'DELETE' })
      setSaid(`The ${stream.transport} connection of ${stream.principal} was ended.`)
    } catch (error) {
      const gone = error instanceof ApiError && error.status === 404
      setSaid(
        gone ? 'That connection had ended already.' : `Not ended: ${error instanceof Error ? error.message : error}`,
      )
    }
    list.reload()
  }

  const columns: Column<OpenStream>[] = [
    { id: 'transport', title: 'Transport', value: s => s.transport, cell: s => <Transport name={s.transport} /> },
    {
      id: 'principal',
      title: 'Principal',
      value: s => s.principal,
      cell: s => (
        <a href={formatRoute('explain', { principal: s.principal })} title="Why do they get an event, or not?">
          <b>{s.principal}</b>
        </a>
      ),
    },
    { id: 'source', title: 'Source', value: s => s.source, cell: s => s.source, minor: true },
    { id: 'profile', title: 'Profile', value: s => s.profile, cell: s => s.profile, minor: true },
    {
      id: 'topics',
      title: 'Asked for',
      value: s => s.topics?.join(' ') ?? '',
      cell: s => <Wanted stream={s} />,
      wide: true,
    },
    {
      id: 'lag',
      title: 'Lag',
      value: s => s.lag ?? -1,
      cell: s => <span class={s.lag ? 'tag warn' : 'soft'}>{s.lag === null ? '–' : count(s.lag)}</span>,
      number: true,
    },
    { id: 'since', title: 'For', value: s => -s.opened, cell: s => duration(now - s.opened), number: true },
    {
      id: 'end',
      title: '',
      cell: s => (
        <button
          type="button"
          class="small danger-text"
          aria-label={`Disconnect ${s.principal}`}
          onClick={event => {
            event.stopPropagation()
            setAsked(s)
          }}
        >
          Disconnect
        </button>
      ),
    },
  ]
  const wanted = (query.find ?? '').trim().toLowerCase()
  const all = list.value?.streams ?? []
  const fitting = all.filter(stream => wanted === '' || haystack(stream).includes(wanted))
  // Equal ones keep their places from look to look.
  fitting.sort((a, b) => a.opened - b.opened || (a.id < b.id ? -1 : 1))
  return (
    <div class="view fill">
      <search class="toolbar">
        <input
          ref={filter}
          value={query.find ?? ''}
          placeholder="Principal, transport, topic…"
          aria-label="Filter connections"
          spellcheck={false}
          onInput={event => say('connections', { ...query, find: event.currentTarget.value })}
        />
        <output class="soft tally">
          {wanted ? `${count(fitting.length)} of ${count(all.length)}` : count(all.length)} open
          {fitting.length > MOST ? `, ${MOST} shown` : ''}
        </output>
      </search>
      {said && <Outcome text={said} close={() => setSaid(undefined)} />}
      {list.error && <Failed error={list.error} retry={list.reload} />}
      {!list.value && !list.error && <Loading what="connections" />}
      {list.value && (
        <Table
          label="Connections"
          columns={columns}
          rows={fitting}
          most={MOST}
          rowKey={stream => stream.id}
          sort={query.sort ?? 'since'}
          onSort={sort => say('connections', { ...query, sort })}
          empty={
            all.length ? (
              <Empty title="No connection fits the filter" />
            ) : (
              <Empty title="Nobody is connected">
                <p>Open a stream, in a page or in a shell:</p>
                <pre>curl -N {location.origin}/v1/events</pre>
              </Empty>
            )
          }
        />
      )}
      {asked && (
        <Confirm
          title="Disconnect?"
          action="Disconnect"
          onConfirm={() => disconnect(asked)}
          onClose={() => setAsked(undefined)}
        >
          <p>
            The {asked.transport} connection of <b>{asked.principal}</b> ends with the close reason 4004, which tells
            well-made clients to stay away. It shuts nobody out: whoever connects anew is let in. To shut somebody out,
            revoke the principal or its key.
          </p>
        </Confirm>
      )}
    </div>
  )
}

function haystack({ principal, source, profile, transport, topics, names }: OpenStream): string {
  return [principal, source, profile, transport, ...(topics ?? []), ...(names ?? [])].join(' ').toLowerCase()
}

function Wanted({ stream }: { stream: OpenStream }): JSX.Element {
  const { topics, names } = stream
  const said = [...(topics ?? []), ...(names ?? []).map(name => `name=${name}`)]
  if (!said.length) return <span class="soft">{topics === null ? 'everything it may see' : 'nothing'}</span>
  return (
    <span class="chips" title={said.join('\n')}>
      {said.slice(0, 4).map(text => (
        <code key={text}>{text}</code>
      ))}
      {said.length > 4 && <span class="soft">and {said.length - 4} more</span>}
    </span>
  )
}
