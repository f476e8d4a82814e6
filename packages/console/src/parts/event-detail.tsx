import type { JSX } from 'preact'
import { withQuery } from '../api.js'
import { useResource } from '../context.js'
import { cursorAfter } from '../cursor.js'
import { clock } from '../format.js'
import { writeGrants } from '../grants.js'
import type { LoggedEvent, SeenEvent } from '../model.js'
import { formatRoute } from '../route.js'
import { Seen } from '../tail.js'
import { Copy } from './copy.js'
import { Icon } from './icons.js'
import { Json } from './json.js'

/** All that is known of one event. */
export function EventDetail({ event: seen, onClose }: { event: SeenEvent; onClose: () => void }): JSX.Element {
  const { event, loading } = useWhole(seen)
  const { cursor, audience } = event
  if (event.gap !== undefined) return <GapDetail event={event} onClose={onClose} />
  return (
    <aside class="detail card" aria-label={`Event ${event.name}`}>
      <header>
        <h2>{event.name}</h2>
        <button type="button" class="plain icon-only" aria-label="Close (Escape)" onClick={onClose}>
          <Icon name="close" />
        </button>
      </header>
      <dl>
        <dt>Topic</dt>
        <dd>
          <code>{event.topic || '–'}</code>
        </dd>
        {event.profile && (
          <>
            <dt>Profile</dt>
            <dd>{event.profile}</dd>
          </>
        )}
        <dt>Time</dt>
        <dd>
          {event.time === undefined
            ? '–'
            : `${new Date(event.time).toLocaleDateString('en-CA')} ${clock(event.time, true)}`}
        </dd>
        <dt>Cursor</dt>
        <dd>
          {cursor ? <code>{cursor}</code> : <span class="soft">none: a signal, or a state told on connecting</span>}
        </dd>
        {audience && (
          <>
            <dt>Audience</dt>
            <dd>{audience.length ? audience.map(grant => <code key={grant}>{grant}</code>) : 'nobody'}</dd>
          </>
        )}
      </dl>
      <div class="buttons">
        <Copy label="Copy data" text={() => JSON.stringify(event.data, null, 2) ?? 'null'} />
        {cursor && <Copy label="Copy cursor" text={() => cursor} />}
        {cursor && (
          <a class="button small" href={formatRoute('explain', { cursor })}>
            <Icon name="explain" /> Explain
          </a>
        )}
        {loading ? (
          <button type="button" class="small" disabled>
            <Icon name="publish" /> Publish again
          </button>
        ) : (
          <a class="button small" href={again(event)}>
            <Icon name="publish" /> Publish again
          </a>
        )}
      </div>
      {event.rounded && !loading && (
        <p class="soft">Numbers of 2^53 and above are rounded here: no number of a page holds them.</p>
      )}
      <Json value={event.data} />
    </aside>
  )
}

/** Why events are missing here. */
function GapDetail({ event, onClose }: { event: SeenEvent; onClose: () => void }): JSX.Element {
  return (
    <aside class="detail card" aria-label="Gap">
      <header>
        <h2>A gap, noticed at {clock(event.time)}</h2>
        <button type="button" class="plain icon-only" aria-label="Close (Escape)" onClick={onClose}>
          <Icon name="close" />
        </button>
      </header>
      <p>{event.gap}</p>
      <Json value={event.data} />
    </aside>
  )
}

/** The event as the log has it: who may see it is not on the wire, and there its numbers are as they were published. */
function useWhole(seen: SeenEvent): { readonly event: SeenEvent; readonly loading: boolean } {
  const { cursor, audience } = seen
  const next = audience === undefined && cursor ? cursorAfter(cursor) : undefined
  const path = next && withQuery('v1/log/events', { before: next, limit: 1 })
  const { value, loading } = useResource<{ events: LoggedEvent[] }>(path, { exact: true })
  const logged = value?.events.find(event => event.cursor === cursor)
  return { event: logged ? new Seen(seen.number, logged) : seen, loading: path !== undefined && loading }
}

/** The form with all that is known. Who may see it goes along, or has to be said there: never does it become everybody by itself. */
function again({ profile, name, topic, text, audience, key, scope, rounded }: SeenEvent): string {
  return formatRoute('publish', {
    again: rounded ? 'rounded' : 'yes',
    profile,
    name,
    topic,
    audience: audience && writeGrants(audience),
    key,
    scope: scope === undefined ? undefined : JSON.stringify(scope),
    data: text,
  })
}
