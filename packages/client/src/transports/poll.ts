import type { Ending, Frame, Transport, TransportRequest, TransportSink } from '../source.js'
import type { Environment } from '../types.js'
import { broken, closeOf, eventOf, gapOf, objectOf } from './frames.js'
import { addressOf, drop, headersOf, isObject, mediaType, refusal } from './http.js'
import { begin, type Lifetime } from './lifetime.js'
import { pause } from './pause.js'
import { textOf } from './problem.js'

/** How long a poll may wait for something to happen, in seconds: below the half minute at which some proxies cut. */
const WAIT = 25

/** The longest answer that is read, in UTF-16 code units. A hub bounds its own far below. */
const ANSWER_LIMIT = 16 << 20

/** The least time, in ms, between two polls that brought nothing: whoever answers sooner does not wait, and would be asked without pause. */
const PAUSE = 1_000

/** The codes of protocol §5: `closed` gives the reason's name alone. */
const REASONS = {
  3001: ['draining', 'reauthenticate', 'idle', 'stalled', 'unavailable', 'gone'],
  4001: ['expired', 'revoked', 'too-many', 'disconnected', 'protocol', 'refused', 'finished'],
}

/** One question after the other (protocol §4): works through whatever lets requests through. */
export const poll: Transport = (request, sink, environment, signal) => {
  const life = begin(sink, environment, signal)
  void pollOn(request, sink, environment, life).then(life.end, cause =>
    life.end(cause?.code === 'protocol' ? { kind: 'protocol', message: cause.message } : { kind: 'ended', cause }),
  )
}

async function pollOn(
  request: TransportRequest,
  sink: TransportSink,
  environment: Environment,
  life: Lifetime,
): Promise<Ending> {
  // Silence is judged by a question that isn't answered, so each has to be answered well before.
  const wait = Math.max(1, Math.min(WAIT, Math.floor(request.silence / 2_000)))
  let { cursor } = request
  let isOpen = false
  while (!life.signal.aborted) {
    life.wait(request.silence, () => life.end({ kind: 'silence' }))
    const asked = environment.now()
    // The first does not wait: nobody knows that it is open before its answer.
    const answer = await ask(request, cursor, isOpen ? wait : 0, environment, life)
    if ('kind' in answer) return answer
    if (life.signal.aborted) break
    if (!isOpen) sink.opened()
    const isFirst = !isOpen
    isOpen = true
    cursor = answer.cursor
    sink.frames(answer.frames)
    if (answer.frames.at(-1)?.type === 'close') return { kind: 'ended', cause: undefined }
    const idle = environment.now() - asked
    if (answer.frames.length === 1 && !isFirst && idle < PAUSE) await pause(PAUSE - idle, environment, life.signal)
  }
  // Aborted: nobody hears this.
  return { kind: 'ended', cause: undefined }
}

interface Answer {
  readonly cursor: string
  readonly frames: readonly Frame[]
}

async function ask(
  request: TransportRequest,
  cursor: string | undefined,
  wait: number,
  environment: Environment,
  life: Lifetime,
): Promise<Answer | Ending> {
  // Always in the query: other than a stream, no poll is copied with its URL, and a header could cost each one a preflight.
  const address = addressOf(request, { wait: `${wait}`, ...(cursor === undefined ? {} : { cursor }) })
  const headers = headersOf(request, 'application/json')
  const init = { headers, credentials: request.credentials, cache: 'no-store', signal: life.signal } as const
  const response = await environment.fetch(address, init)
  if (response.status !== 200) {
    return refusal(response, environment.now(), ending => life.wait(request.silence, () => life.end(ending)))
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
