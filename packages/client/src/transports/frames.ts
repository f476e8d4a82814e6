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
export function objectOf(given: unknown, what: string): Wire {
  let value = given
  try {
    if (typeof given === 'string') value = JSON.parse(given)
  } catch {}
  if (!isObject(value)) throw broken(`${what} that is no JSON object`)
  return value
}

const text = (value: unknown): string | undefined => (typeof value === 'string' ? value : undefined)
const number = (value: unknown): number | undefined => (typeof value === 'number' ? value : undefined)

/** A position (protocol §1.1). */
export function positionOf(wire: Wire): Frame {
  const cursor = text(wire.cursor)
  if (!cursor) throw broken('a position without a cursor')
  return { type: 'cursor', cursor }
}

/** An event, a signal or a present state, of a WebSocket or a poll (protocol §4, §8.2). */
export function eventOf(wire: Wire): Frame {
  const name = text(wire.name)
  if (name === undefined) throw broken('an event without a name')
  const event: LiveEvent = {
    name,
    data: wire.data,
    topic: text(wire.topic) ?? '',
    cursor: text(wire.cursor),
    time: number(wire.time),
  }
  return { type: 'event', event }
}

/** A gap (protocol §3). */
export function gapOf(wire: Wire): Frame {
  const resumed = text(wire.resumed)
  if (resumed === undefined) throw broken('a gap that does not say where it goes on')
  const gap: Gap = {
    // One that is newer than this client is as good as not known.
    reason: (text(wire.reason) ?? 'unknown') as Gap['reason'],
    asked: text(wire.asked),
    resumed,
    atMost: number(wire.at_most),
  }
  return { type: 'gap', gap }
}

/** Why the hub ends it (protocol §5). */
export function closeOf(wire: Wire): Frame {
  const code = number(wire.code)
  if (code === undefined) throw broken('an end without a code')
  const close: CloseReason = {
    code,
    reason: text(wire.reason) ?? '',
    message: text(wire.message) ?? '',
    // Codes below 4000 ask to come back.
    reconnect: typeof wire.reconnect === 'boolean' ? wire.reconnect : code < 4000,
  }
  return { type: 'close', close }
}
