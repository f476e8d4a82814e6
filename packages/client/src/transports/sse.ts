import type { Frame, Transport, TransportRequest } from '../source.js'
import type { SseBlock } from '../sse-parser.js'
import { closeOf, gapOf, objectOf, positionOf } from './frames.js'
import { addressOf, headersOf } from './http.js'
import { begin } from './lifetime.js'
import { EVENT_STREAM, readStream } from './stream.js'

/** Server-Sent Events over `fetch`, which sees statuses and headers where a browser's EventSource does not (protocol §2). */
export const sse: Transport = (request, sink, environment, signal) => {
  const life = begin(sink, environment, signal)
  let frames: Frame[] = []
  const hears = {
    opened: () => sink.opened(),
    retry: (ms: number) => void frames.push({ type: 'retry', ms }),
    block(block: SseBlock) {
      const frame = frameOf(block)
      if (frame) frames.push(frame)
    },
    read() {
      const told = frames
      frames = []
      if (told.length > 0) sink.frames(told)
    },
  }
  void readStream(() => asked(request, environment.location), request.silence, hears, environment, life)
}

function asked(request: TransportRequest, location: string | undefined): [URL, RequestInit] {
  const { cursor, credentials } = request
  const byHeader = cursor !== undefined && takesHeader(request, location)
  const headers = headersOf(request, EVENT_STREAM)
  if (byHeader) headers.set('last-event-id', cursor)
  const address = addressOf(request, { meta: 'true', ...(cursor === undefined || byHeader ? {} : { cursor }) })
  return [address, { headers, credentials }]
}

/**
 * Whether the place is told as a header.
 *
 * `Last-Event-ID` is the standard's way, and wins over whatever query a URL was copied with. But it is no header that a page may send
 * to another origin without asking first (Fetch §2.2.2), though a browser's own EventSource may: there the query saves a preflight at
 * each reconnect, and asks nothing of the other side's CORS. Outside of a page there is no such question.
 */
function takesHeader({ url, cursor }: TransportRequest, location: string | undefined): boolean {
  // Whatever else was given as a cursor can stand in a query, where the hub refuses to know it; `fetch` would throw.
  const isVisible = /^[!-~]+$/.test(cursor ?? '')
  return isVisible && (!location || new URL(location).origin === url.origin)
}

/**
 * A block as a frame. The data of an event is JSON, as the hub writes it; where it is not, on a mount whose profile says otherwise,
 * it stays the text that it is.
 */
function frameOf({ name, data, id, topic, time }: SseBlock): Frame | undefined {
  const cursor = id || undefined
  if (data === undefined) return cursor ? { type: 'cursor', cursor } : undefined
  switch (name) {
    case 'tidings.open':
    case 'tidings.cursor':
      return cursor ? { type: 'cursor', cursor } : positionOf(objectOf(data))
    case 'tidings.gap':
      return gapOf(objectOf(data))
    case 'tidings.close':
      return closeOf(objectOf(data))
  }
  return { type: 'event', event: { name: name || 'message', data: valueIn(data), topic, cursor, time } }
}

function valueIn(data: string): unknown {
  try {
    return JSON.parse(data)
  } catch {
    return data
  }
}
