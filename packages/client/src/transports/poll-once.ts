import { TidingsError } from '../errors.js'
import type { Ending, Frame, TransportRequest } from '../source.js'
import type { Environment } from '../types.js'
import { broken, closeOf, eventOf, gapOf, objectOf } from './frames.js'
import { addressOf, drop, headersOf, isObject, mediaType } from './http.js'
import { refusal, textOf } from './problem.js'

/** The longest answer that is read, in UTF-16 code units. A hub bounds its own far below. */
const ANSWER_LIMIT = 16 << 20

/** The codes of protocol §5: `closed` gives the reason's name alone. */
const REASONS = {
  3001: ['draining', 'reauthenticate', 'idle', 'stalled', 'unavailable', 'gone'],
  4001: ['expired', 'revoked', 'too-many', 'disconnected', 'protocol', 'refused', 'finished'],
}

/** What one poll brought. */
export interface Answer {
  readonly cursor: string
  readonly frames: readonly Frame[]
}

/**
 * Asks once, for what comes after the request's cursor within `wait` seconds (protocol §4). Never rejects; what happens after an abort
 * counts for nothing. `known` is told of a refusal before its sentence has come.
 */
export async function pollOnce(
  request: TransportRequest,
  wait: number,
  environment: Environment,
  signal: AbortSignal,
  known?: (ending: Ending) => void,
): Promise<Answer | Ending> {
  try {
    return await ask(request, wait, environment, signal, known)
  } catch (cause) {
    return cause instanceof TidingsError && cause.code === 'protocol'
      ? { kind: 'protocol', message: cause.message }
      : { kind: 'ended', cause }
  }
}

async function ask(
  request: TransportRequest,
  wait: number,
  environment: Environment,
  signal: AbortSignal,
  known: ((ending: Ending) => void) | undefined,
): Promise<Answer | Ending> {
  const { cursor } = request
  // Always in the query: other than a stream, no poll is copied with its URL, and a header could cost each one a preflight.
  const address = addressOf(request, { wait: `${wait}`, ...(cursor === undefined ? {} : { cursor }) })
  const headers = headersOf(request, 'application/json')
  const init = { headers, credentials: request.credentials, cache: 'no-store', signal } as const
  const response = await environment.fetch(address, init)
  if (response.status !== 200) {
    return refusal(response, environment.now(), known)
  }
  const contentType = mediaType(response.headers)
  if (contentType !== 'application/json') {
    drop(response.body)
    return { kind: 'content-type', contentType }
  }
  const text = await textOf(response, ANSWER_LIMIT)
  if (text === undefined) throw broken(`an answer of more than ${ANSWER_LIMIT} characters`)
  return answerOf(objectOf(text))
}

/** The frames of an answer (protocol §4): the gap before what follows it, the place behind it, and the end last. */
function answerOf({ events, cursor, gap, closed }: Readonly<Record<string, unknown>>): Answer {
  if (!Array.isArray(events) || typeof cursor !== 'string') throw broken('an answer without events or cursor')
  const frames: Frame[] = events.map(event => eventOf(objectOf(event)))
  if (gap !== undefined) frames.unshift(gapOf(objectOf(gap)))
  frames.push({ type: 'cursor', cursor })
  if (closed !== undefined) frames.push(endOf(closed))
  return { cursor, frames }
}

function endOf(closed: unknown): Frame {
  if (isObject(closed)) return closeOf(closed)
  for (const [first, reasons] of Object.entries(REASONS)) {
    const at = reasons.indexOf(String(closed))
    if (at >= 0) return closeOf({ code: Number(first) + at, reason: closed, message: `the hub said: ${closed}` })
  }
  // A reason that is newer than this client: the next poll is told whether to go on.
  return closeOf({ code: 3006, reason: closed, message: `the hub said: ${closed}` })
}
