// Stock Socket.IO clients of every generation, each coming back to its place in the way that the docs tell.
import { io as latest } from 'socket.io-client'
import { io as io44 } from 'socket.io-client-4.4'
import { io as io3 } from 'socket.io-client-3'
import io2 from 'socket.io-client-2'
import { Ledger } from './count.mjs'

export { latest }

// A client that waits for seconds before it comes back would only make the tests long.
export const options = { forceNew: true, reconnectionDelay: 20, reconnectionDelayMax: 100, timeout: 20_000 }
export const topics = ['count/*']

/** The one that comes back to its place by itself. */
export const RECOVERS = 'socket.io-client 4.8'

/** How each is opened: `open(url, options, cursor)`. */
export const CLIENTS = {
  [RECOVERS]: (url, more, cursor) => latest(url, { ...options, ...more, auth: { topics, cursor } }),
  'socket.io-client 4.4': withAuth(io44),
  'socket.io-client 3.1': withAuth(io3),
  'socket.io-client 2.5': (url, more, cursor) => {
    const place = { topics: topics.join(), ...(cursor ? { cursor } : {}) }
    const socket = keep(io2(url, { ...options, ...more, query: { ...place } }), place)
    socket.on('reconnect_attempt', () => { socket.io.opts.query = { ...place } })
    return socket
  },
}

export const TRANSPORTS = {
  'over WebSocket': { transports: ['websocket'] },
  'by polling': { transports: ['polling'] },
  'by polling and then WebSocket': {},
}

function withAuth(io) {
  return (url, more, cursor) => {
    const place = { topics, cursor }
    return keep(io(url, { ...options, ...more, auth: tell => tell(place) }), place)
  }
}

/** The cursor is the last argument of every event; the client keeps the newest. */
function keep(socket, place) {
  for (const name of ['counted', 'tidings.open', 'tidings.cursor', 'tidings.gap']) {
    socket.on(name, (...args) => { place.cursor = args.at(-1) })
  }
  return socket
}

/** A client that is opened by `open`, and what it saw. Ends with the test. */
export function connect(t, open, url, more, cursor) {
  const socket = open(url, more, cursor)
  t.after(() => socket.close())
  const client = { socket, ledger: new Ledger(), gaps: [], connects: [], ends: 0, refused: 0 }
  socket.on('connect', () => client.connects.push({ id: socket.id, recovered: socket.recovered }))
  socket.on('disconnect', () => { client.ends++ })
  socket.on('connect_error', () => { client.refused++ })
  socket.on('counted', data => client.ledger.note(data.n))
  socket.on('tidings.gap', gap => client.gaps.push(gap))
  client.transport = () => socket.io.engine.transport.name
  return client
}
