import type { JSX } from 'preact'
import { clock } from '../format.js'
import type { SeenEvent } from '../model.js'
import { formatRoute } from '../route.js'
import { Copy } from './copy.js'
import { Icon } from './icons.js'
import { Json } from './json.js'

/** All that is known of one event. */
export function EventDetail({ event, onClose }: { event: SeenEvent; onClose: () => void }): JSX.Element {
  const { cursor, audience } = event
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
        <a
          class="button small"
          href={formatRoute('publish', {
            profile: event.profile,
            name: event.name,
            topic: event.topic,
            data: event.text,
          })}
        >
          <Icon name="publish" /> Publish again
        </a>
      </div>
      <Json value={event.data} />
    </aside>
  )
}
