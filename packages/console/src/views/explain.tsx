import type { JSX } from 'preact'
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks'
import { withQuery } from '../api.js'
import { go, route, useHub, useResource } from '../context.js'
import { clock } from '../format.js'
import { useKeys } from '../keys.js'
import type { Explanation, LoggedEvent, OpenStream } from '../model.js'
import { Field } from '../parts/field.js'
import { Icon } from '../parts/icons.js'
import { Empty, Failed, Loading } from '../parts/states.js'
import { useStore } from '../store.js'

type Asked = 'principal' | 'grants' | 'me'

/** Somebody without grants, in the address. */
const NONE = ','

/** Why somebody did or did not get an event. */
export function ExplainView(): JSX.Element {
  const hub = useHub()
  const { query } = useStore(route)
  const [cursor, setCursor] = useState('')
  const [asked, setAsked] = useState<Asked>('me')
  const [principal, setPrincipal] = useState('')
  const [grants, setGrants] = useState('')
  const [topics, setTopics] = useState('')
  const first = useRef<HTMLInputElement>(null)
  const form = useRef<HTMLFormElement>(null)
  useKeys({ '/': () => first.current?.focus() })
  // The form says what the answer beside it is about, also after a step back. Before it is drawn: nobody sees another question there.
  useLayoutEffect(() => {
    setCursor(query.cursor ?? '')
    setAsked(query.principal ? 'principal' : query.grants !== undefined ? 'grants' : 'me')
    setPrincipal(query.principal ?? '')
    setGrants(query.grants === NONE ? '' : (query.grants ?? ''))
    setTopics(query.topics ?? '')
  }, [query.cursor, query.principal, query.grants, query.topics])

  const [recent, standStill] = useNewest()
  const streams = useResource<{ streams: OpenStream[] }>('v1/streams').value?.streams ?? []
  const people = [...new Set(streams.map(stream => stream.principal))].sort()
  const path = query.cursor ? withQuery('v1/explain', { ...pick(query) }) : undefined
  const answer = useResource<Explanation>(path)

  const ask = (event?: Event, at = cursor) => {
    event?.preventDefault()
    // What is drawn is not yet what was chosen.
    if (first.current) first.current.value = at
    if (!form.current?.reportValidity()) return
    go('explain', {
      cursor: at.trim(),
      principal: asked === 'principal' ? principal.trim() : undefined,
      // Somebody without grants is a question too; an empty parameter would be left out.
      grants: asked === 'grants' ? grants.trim() || NONE : undefined,
      topics: asked === 'principal' ? undefined : topics.trim(),
    })
  }
  const choice = (value: Asked, label: string) => (
    <label class="check">
      <input type="radio" name="who" checked={asked === value} onChange={() => setAsked(value)} />
      {label}
    </label>
  )
  return (
    <div class="view">
      <div class="explain">
        <form ref={form} class="card form" onSubmit={ask}>
          <Field label="Event, by its cursor" hint="As in the id of a stream, or in the answer to its publish">
            {attributes => (
              <input
                {...attributes}
                ref={first}
                class="mono"
                value={cursor}
                required
                spellcheck={false}
                placeholder="9f3c2a1b-42"
                onInput={event => setCursor(event.currentTarget.value)}
              />
            )}
          </Field>
          <fieldset>
            <legend>Who</legend>
            {choice('principal', 'a principal who is connected')}
            {choice('grants', 'somebody with these grants')}
            {choice('me', `this key (${hub.who.principal})`)}
          </fieldset>
          {asked === 'principal' && (
            <Field
              label="Principal"
              hint={
                people.length
                  ? `Connected now: ${people.slice(0, 6).join(', ')}${people.length > 6 ? ', …' : ''}`
                  : 'Nobody is connected now'
              }
            >
              {attributes => (
                <>
                  <input
                    {...attributes}
                    list="people"
                    value={principal}
                    required
                    pattern=".*\S.*"
                    spellcheck={false}
                    onInput={e => setPrincipal(e.currentTarget.value)}
                  />
                  <datalist id="people">
                    {people.map(name => (
                      <option key={name} value={name} />
                    ))}
                  </datalist>
                </>
              )}
            </Field>
          )}
          {asked === 'grants' && (
            <Field label="Grants" hint="Separated by commas: role/viewer, library/lib1/read">
              {attributes => (
                <input
                  {...attributes}
                  class="mono"
                  value={grants}
                  spellcheck={false}
                  onInput={e => setGrants(e.currentTarget.value)}
                />
              )}
            </Field>
          )}
          {asked !== 'principal' && (
            <Field label="Topics they asked for" hint="Separated by commas. Empty is everything">
              {attributes => (
                <input
                  {...attributes}
                  class="mono"
                  value={topics}
                  spellcheck={false}
                  onInput={e => setTopics(e.currentTarget.value)}
                />
              )}
            </Field>
          )}
          <footer>
            <button type="submit" class="primary">
              <Icon name="explain" /> Explain
            </button>
          </footer>
          <section class="recent">
            <h3>Newest in the log</h3>
            <ul onPointerEnter={() => standStill(true)} onPointerLeave={() => standStill(false)}>
              {recent.map(event => (
                <li key={event.cursor}>
                  <button
                    type="button"
                    class={event.cursor === query.cursor ? 'chosen' : ''}
                    onClick={() => {
                      setCursor(event.cursor)
                      ask(undefined, event.cursor)
                    }}
                  >
                    <span class="at">{clock(event.time)}</span>
                    <span class="name">{event.name}</span>
                    <span class="topic">{event.topic}</span>
                  </button>
                </li>
              ))}
            </ul>
          </section>
        </form>
        <div class={`answer${path ? ' given' : ''}`} aria-live="polite">
          {!path && (
            <Empty title="Why did X not get Y?">
              Choose an event, say who is asked about, and see each question that the hub asks, with its answer.
            </Empty>
          )}
          {answer.error && <Failed error={answer.error} retry={answer.reload} />}
          {path && !answer.value && !answer.error && <Loading what="the answer" />}
          {answer.value && <Answer explanation={answer.value} />}
        </div>
      </div>
    </div>
  )
}

/** ms between two looks at the log's end. */
const LOOK = 1_500

/** The newest of the log, again when something has happened; not while somebody is about to choose one of them. */
function useNewest(): [readonly LoggedEvent[], (still: boolean) => void] {
  const { tail } = useHub()
  useStore(tail.version)
  const { total } = tail
  const newest = useResource<{ events: LoggedEvent[] }>('v1/log/events?limit=12')
  const [still, standStill] = useState(false)
  const [looked, setLooked] = useState(total)
  const isNew = total !== looked && !still
  useEffect(() => {
    if (!isNew) return
    const timer = setTimeout(() => {
      setLooked(tail.total)
      newest.reload()
    }, LOOK)
    return () => clearTimeout(timer)
  }, [isNew])
  return [newest.value?.events ?? [], standStill]
}

function pick({
  cursor,
  principal,
  grants,
  topics,
}: Readonly<Record<string, string>>): Record<string, string | undefined> {
  return { cursor, principal, grants, topics }
}

function Answer({ explanation }: { explanation: Explanation }): JSX.Element {
  const { audience, profile } = explanation
  // The streams of the event's own profile first: of the others one may guess the answer.
  const readers = explanation.readers.toSorted((a, b) => Number(b.profile === profile) - Number(a.profile === profile))
  return (
    <>
      <section class="card about-event">
        <h2>{explanation.name}</h2>
        <dl>
          <dt>Topic</dt>
          <dd>
            <code>{explanation.topic}</code>
          </dd>
          <dt>Cursor</dt>
          <dd>
            <code>{explanation.cursor}</code>
          </dd>
          <dt>Profile</dt>
          <dd>{explanation.profile}</dd>
          <dt>Audience</dt>
          <dd class="chips">{audience.length ? audience.map(grant => <code key={grant}>{grant}</code>) : 'nobody'}</dd>
        </dl>
      </section>
      {explanation.note && (
        <div class="notice">
          <span>{explanation.note}</span>
        </div>
      )}
      {readers.map((reader, index) => (
        <section key={index} class="card reader">
          <header>
            <h2>{reader.principal}</h2>
            {reader.profile && <span class="soft">a stream of {reader.profile}</span>}
            <span class={`tag ${reader.given ? 'good' : 'bad'}`}>{reader.given ? 'gets it' : 'does not get it'}</span>
          </header>
          <ol class="chain">
            {reader.steps.map(step => (
              <li key={step.question} class={step.passed ? 'passed' : 'stopped'}>
                <span class="mark">
                  <Icon name={step.passed ? 'check' : 'close'} />
                  <span class="off-screen">{step.passed ? 'passed:' : 'stopped here:'}</span>
                </span>
                <span class="question">{step.question}</span>
                <span class="said">{step.answer}</span>
              </li>
            ))}
          </ol>
        </section>
      ))}
    </>
  )
}
