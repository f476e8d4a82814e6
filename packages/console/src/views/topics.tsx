import type { JSX } from 'preact'
import { useRef } from 'preact/hooks'
import { withQuery } from '../api.js'
import { route, say, useCalm, useHub, useNow, useResource } from '../context.js'
import { ago, clock, count, rate } from '../format.js'
import { useKeys } from '../keys.js'
import type { TopicRate, TopicsAnswer } from '../model.js'
import { Sparkline } from '../parts/sparkline.js'
import { Empty, Failed, Loading } from '../parts/states.js'
import { type Column, Table } from '../parts/table.js'
import { formatRoute } from '../route.js'
import { useStore } from '../store.js'

/** ms between two looks. */
const EVERY = 2_000
const MOST = 200

/** What is talked about, and how much. */
export function TopicsView(): JSX.Element {
  const hub = useHub()
  const { query } = useStore(route)
  const now = useNow()
  const sort = query.sort ?? 'rate'
  const known = sort.replace('-', '')
  const path = withQuery('v1/topics', { sort: known, limit: MOST, match: query.match?.trim() })
  const answer = useResource<TopicsAnswer>(useCalm(path), { every: EVERY, keep: true })
  const filter = useRef<HTMLInputElement>(null)
  useKeys({ '/': () => filter.current?.focus() })
  const { pulse } = hub
  if (answer.value) pulse.look(answer.value, Date.now())

  const columns: Column<TopicRate>[] = [
    {
      id: 'topic',
      title: 'Topic',
      value: t => t.topic,
      cell: t => (
        <a class="mono" href={formatRoute('tail', { topic: t.topic })} title="Show in the tail">
          {t.topic}
        </a>
      ),
      wide: true,
    },
    { id: 'profile', title: 'Profile', cell: t => t.profile, minor: true },
    {
      id: 'curve',
      title: 'Last minute',
      cell: t => <Sparkline values={pulse.of(t)} label={`Rate of ${t.topic} over the last minute`} />,
      minor: true,
    },
    { id: 'rate', title: 'Rate', value: t => t.rate, cell: t => `${rate(t.rate)}/s`, number: true },
    { id: 'events', title: 'Events', value: t => t.events, cell: t => count(t.events), number: true },
    { id: 'last', title: 'Last', value: t => t.last, cell: t => ago(t.last, now), number: true },
  ]
  return (
    <div class="view fill">
      <search class="toolbar">
        <input
          ref={filter}
          value={query.match ?? ''}
          placeholder="Part of a topic, or book/*"
          aria-label="Filter topics: a pattern, or a part of it"
          spellcheck={false}
          onInput={event => say('topics', { ...query, match: event.currentTarget.value })}
        />
        <output class="soft tally">{answer.value && summary(answer.value)}</output>
      </search>
      {answer.error && <Failed error={answer.error} retry={answer.reload} />}
      {!answer.value && !answer.error && <Loading what="topics" />}
      {answer.value && (
        <Table
          label="Topics"
          columns={columns}
          rows={answer.value.topics}
          rowKey={topic => `${topic.profile}\n${topic.topic}`}
          sort={sort}
          onSort={next => say('topics', { ...query, sort: next })}
          empty={
            query.match ? (
              <Empty title="No topic fits">
                A pattern has * for one part and ** at the end for the rest; other text is looked for anywhere.
              </Empty>
            ) : (
              <Empty title="No topic yet">
                Topics appear with their first event. <a href="#/publish">Publish one.</a>
              </Empty>
            )
          }
        />
      )}
    </div>
  )
}

function summary({ topics, known, forgotten, since }: TopicsAnswer): string {
  const shown = topics.length < known ? `${count(topics.length)} of ${count(known)} topics` : `${count(known)} topics`
  const gone = forgotten > 0 ? `, ${count(forgotten)} quiet ones forgotten` : ''
  return `${shown}${gone}, counted since ${clock(since)}`
}
