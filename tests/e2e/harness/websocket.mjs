// A WebSocket of npm `ws`, as a test looks at it: the messages as text, and how it ended.
import { WebSocket } from 'ws'
import { until } from './wait.mjs'

/**
 * Opens a WebSocket, which ends with the test. `messages` are the texts that came; `closed` is `{code, reason}` once it has ended, or
 * `{status, type, body}` if it was refused.
 */
export function openSocket(t, url, { headers = {}, protocols = [], ...options } = {}) {
  const ws = new WebSocket(url.replace(/^http/, 'ws'), protocols, { headers, ...options })
  t.after(() => ws.terminate())
  const socket = {
    ws,
    messages: [],
    closed: undefined,
    get protocol() { return ws.protocol },
    /** The messages as JSON. */
    heard: () => socket.messages.map(text => JSON.parse(text)),
    send: message => ws.send(typeof message === 'string' ? message : JSON.stringify(message)),
    /** Waits until that many messages have come, and gives them. */
    async gets(count, by) {
      await until(() => `message ${count} from ${url}; ${socket.messages} came${socket.closed ? `, then ${JSON.stringify(socket.closed)}` : ''}`, () => socket.messages.length >= count, by)
      return socket.messages
    },
    /** Waits for a message with these members, and gives it; only those after number `from` count. */
    async hears(wanted, from = 0, by) {
      const fits = message => Object.entries(wanted).every(([name, value]) => message[name] === value)
      return until(() => `${JSON.stringify(wanted)}; ${socket.messages.slice(-5)} came last`, () => socket.heard().slice(from).find(fits), by)
    },
    async ends(by) {
      return until(`${url} to end`, () => socket.closed, by)
    },
  }
  ws.on('message', data => socket.messages.push(data.toString()))
  ws.on('error', () => {})
  ws.on('close', (code, reason) => { socket.closed ??= { code, reason: reason.toString() } })
  ws.on('unexpected-response', async (_, response) => {
    let body = ''
    for await (const piece of response.setEncoding('utf8')) body += piece
    socket.closed = { status: response.statusCode, type: response.headers['content-type'], body }
  })
  return socket
}
