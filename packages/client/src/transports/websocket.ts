import type { Ending, Frame, Transport, TransportRequest } from '../source.js'
import type { Environment } from '../types.js'
import { closeOf, eventOf, gapOf, objectOf, positionOf } from './frames.js'
import { addressOf } from './http.js'
import { begin, type Lifetime } from './lifetime.js'
import { probe } from './probe.js'

/** Our messages (protocol §8.1). */
const SUBPROTOCOL = 'tidings.v1'

/** Our name for the one subscription of a connection. */
const SUBSCRIPTION = 'all'

/** How often a burst is handed over, in ms: messages come one by one here, and whoever draws would draw for each. */
const GATHER = 10

/** The server's view that we broke the protocol, or asked too much (protocol §8.4). */
const BLAMES = [1002, 1003, 1007, 1008, 1009]

/** What a subprotocol may be made of (RFC 9110 §5.6.2). */
const IS_TOKEN = /^[\w!#$%&'*+.^`|~-]+$/

/** A WebSocket with one subscription (protocol §8). */
export const websocket: Transport = (request, sink, environment, signal) => {
  const life = begin(sink, environment, signal)
  const gather = gatherer(frames => sink.frames(frames), environment, life)
  let socket: WebSocket
  try {
    const { WebSocket } = environment
    const { token } = request
    if (!WebSocket || (token !== undefined && !IS_TOKEN.test(token))) throw undefined
    socket = new WebSocket(addressFor(request), [SUBPROTOCOL, ...(token === undefined ? [] : [`bearer.${token}`])])
  } catch {
    // What was thrown may quote the credential. Another transport may be able to send it.
    const message = 'no WebSocket can be made here with this credential'
    // Later: a transport has returned before it ends.
    queueMicrotask(() => life.end({ kind: 'protocol', message }))
    return
  }
  let isOpen = false
  let isLive = false

  const end = (ending: Ending): void => {
    gather.flush()
    life.end(ending)
  }
  const send = (message: object): void => socket.send(JSON.stringify(message))
  const listen = (): void => {
    // A browser can't see the protocol's own Ping frames. One question of ours in the middle tells a quiet hub from a dead one.
    life.wait(request.silence / 2, () => {
      if (isOpen) send({ type: 'ping' })
      life.wait(request.silence / 2, () => end({ kind: 'silence' }))
    })
  }

  const hear = (message: Readonly<Record<string, unknown>>): Frame | undefined => {
    switch (message.type) {
      case 'subscribed':
        sink.opened()
        isLive = message.live !== false
        if (message.gap !== undefined) gather.add(gapOf(objectOf(message.gap)))
        return positionOf(message)
      case 'live':
        isLive = true
        return positionOf(message)
      case 'cursor':
        // While the past is told, the position of the connection lies ahead of what was told.
        return isLive ? positionOf(message) : undefined
      case 'event':
        return eventOf(message)
      case 'signal':
      case 'retained':
        return eventOf({ ...message, cursor: undefined })
      case 'gap':
        return gapOf(message)
      case 'close':
        return closeOf(message)
      case 'error':
        if (message.id === SUBSCRIPTION) end(refusedBy(message))
    }
    // A heartbeat, a pong, or what is newer than this client.
    return undefined
  }

  socket.onopen = () => {
    isOpen = true
    if (!isInUrl(request)) send({ type: 'subscribe', id: SUBSCRIPTION, topics: request.topics, cursor: request.cursor })
  }
  socket.onmessage = ({ data }) => {
    if (life.signal.aborted) return
    listen()
    try {
      const frame = hear(objectOf(typeof data === 'string' ? data : undefined))
      if (frame) gather.add(frame)
    } catch (error) {
      end({ kind: 'protocol', message: (error as Error).message })
    }
  }
  socket.onclose = ({ code, reason }) => {
    // Why the handshake failed browsers don't say.
    if (!isOpen) return void probe(request, environment, life.signal).then(life.end)
    if (BLAMES.includes(code)) return end({ kind: 'protocol', message: `the hub closed with ${code} ${reason}` })
    // The code says it also where the last words were lost. Who was told already is told the same.
    if (code >= 3000 && !gather.closed()) gather.add(closeOf({ code, reason, message: reason }))
    end({ kind: 'ended', cause: undefined })
  }
  // Told better by `onclose`; but outside of browsers an error that nobody hears is thrown.
  socket.onerror = () => {}
  life.signal.addEventListener('abort', () => {
    socket.onopen = socket.onmessage = socket.onclose = null
    socket.close()
  })
  if (life.signal.aborted) socket.close()
  else listen()
}

/** A mount's own parameters subscribe from the beginning: then all is asked for there. */
function isInUrl({ query }: TransportRequest): boolean {
  return Object.keys(query).length > 0
}

function addressFor(request: TransportRequest): URL {
  const { cursor } = request
  // An empty cursor asks for what comes next, and makes sure that it is asked at all.
  const address = isInUrl(request) ? addressOf(request, { cursor: cursor ?? '' }) : new URL(request.url)
  address.protocol = address.protocol.replace('http', 'ws')
  return address
}

function refusedBy({ status, ...problem }: Readonly<Record<string, unknown>>): Ending {
  return {
    kind: 'refused',
    status: Number(status),
    problem: { status: Number(status), ...problem },
    retryAfter: undefined,
  }
}

/** Hands over the first frame at once, and what comes right behind it together. */
function gatherer(
  hand: (frames: readonly Frame[]) => void,
  { now, setTimeout, clearTimeout, document }: Environment,
  life: Lifetime,
): { add(frame: Frame): void; flush(): void; closed(): boolean } {
  let frames: Frame[] = []
  let handed = Number.NEGATIVE_INFINITY
  let timer: unknown
  let isClosed = false
  const flush = (): void => {
    clearTimeout(timer)
    timer = undefined
    if (life.signal.aborted || frames.length === 0) return
    handed = now()
    const told = frames
    frames = []
    hand(told)
  }
  life.signal.addEventListener('abort', () => clearTimeout(timer))
  return {
    flush,
    closed: () => isClosed,
    add(frame) {
      frames.push(frame)
      if (frame.type === 'close') isClosed = true
      const waits = GATHER - (now() - handed)
      // Browsers let the timers of hidden pages wait for a second, and a page may hold the connection for others that are seen.
      if (waits <= 0 || document?.visibilityState === 'hidden') flush()
      else timer ??= setTimeout(flush, waits)
    },
  }
}
