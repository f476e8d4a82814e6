/** Frames from what is on the wire. What breaks the protocol throws a {@link TidingsError} `protocol`. */

import { TidingsError } from '../errors.js'
import type { Frame } from '../source.js'
import type { CloseReason, Gap, LiveEvent } from '../types.js'
import { isObject } from './http.js'

type Wire = Readonly<Record<string, unknown>>

/** What was sent breaks the protocol. */
export function broken(what: string): TidingsError {
  return new TidingsError('protocol', `the hub sent ${what}`)
}

/** A JSON object, from its text or, within another one, as it is. */
export function objectOf(given: unknown): Wire {
  let value = given
  try {
    if (typeof given === 'string') value = JSON.parse(given)
  } catch {}
  if (!isObject(value)) throw broken('something that is no JSON object')
  return value
}

const text = (value: unknown): string | undefined => (typeof value === 'string' ? value : undefined)
const number = (value: unknown): number | undefined => (typeof value === 'number' ? value : undefined)

/** A member that has to be there. */
function needed<T>(value: T | undefined, name: string): T {
  if (value === undefined) throw broken(`no \`${name}\``)
  return value
}

/** A position (protocol §1.1). */
export function positionOf({ cursor }: Wire): Frame {
  return { type: 'cursor', cursor: needed(text(cursor), 'cursor') }
}

/** An event, a signal or a present state, of a WebSocket or a poll (protocol §4, §8.2). */
export function eventOf({ name, data, topic, cursor, time }: Wire): Frame {
  const event: LiveEvent = {
    name: needed(text(name), 'name'),
    data,
    topic: text(topic) ?? '',
    cursor: text(cursor),
    time: number(time),
  }
  return { type: 'event', event }
}

/** A gap (protocol §3). */
export function gapOf({ reason, asked, resumed, at_most }: Wire): Frame {
  const gap: Gap = {
    // A reason that is newer than this client says no less.
    reason: (text(reason) ?? 'unknown') as Gap['reason'],
    asked: text(asked),
    resumed: needed(text(resumed), 'resumed'),
    atMost: number(at_most),
  }
  return { type: 'gap', gap }
}

/** Why the hub ends it (protocol §5). */
export function closeOf({ code, reason, message, reconnect }: Wire): Frame {
  const known = needed(number(code), 'code')
  const close: CloseReason = {
    code: known,
    reason: text(reason) ?? '',
    message: text(message) ?? '',
    // Codes below 4000 ask to come back.
    reconnect: typeof reconnect === 'boolean' ? reconnect : known < 4000,
  }
  return { type: 'close', close }
}
