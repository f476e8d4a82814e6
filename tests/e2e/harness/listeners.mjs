// A subscriber by each transport, by the client that people use there. Each keeps its own history for the checker and comes back to
// its place in the way of its transport.
import { EventSource } from 'eventsource'
import { io } from 'socket.io-client'
import { WebSocket } from 'ws'
import { History } from './checker.mjs'
import { until } from './wait.mjs'

/** How each is opened. Socket.IO comes by WebSocket, or as its clients do unless they are told otherwise: by polling, and then WebSocket. */
export const LISTENERS = {
  sse: bySse,
  websocket: byWebSocket,
  socketio: (listener, options) => bySocketIo(listener, { ...options, transports: ['websocket'] }),
  'socketio that polls first': bySocketIo,
  poll: byPoll,
}

/** The events that are counted; others are nobody's concern here. */
export const COUNTED = 'counted'

// The close reasons after which one comes back: protocol/README.md §5.
const COME_BACK = ['draining', 'reauthenticate', 'idle', 'stalled', 'unavailable', 'gone']

// Who is sent away comes back after about this long, each after another time, in ms.
const AGAIN = 100

/**
 * Opens a listener, which ends with the test: `{url, transport, name, key, topics, sees, onEvent}`. `key` is an API key, `sees` is
 * what of the published events it is to be told, `onEvent(data)` is called with each. With `cursor` it goes on from there.
 */
export function listen(t, { transport, name = transport, sees, onEvent = () => {}, ...options }) {
  const listener = new Listener(name, transport, new History(name, { sees }), onEvent)
  listener.open(LISTENERS[transport], options)
  t.after(() => listener.close())
  return listener
}

class Listener {
  /** How often it was let in, and how often it was cut off, sent away or not let in. */
  opens = 0
  cuts = 0
  isClosed = false
  isLetIn = false
  /** Its place as the client has it, for those that hand it back themselves. */
  cursor = undefined
  /** The cursor of the last event that it was told. */
  newest = undefined
  /** Called when it was in, and is not any more. */
  onCut = () => {}
  #shut = () => {}

  constructor(name, transport, history, onEvent) {
    Object.assign(this, { name, transport, history, onEvent })
  }

  open(how, { url, key, topics = [], cursor }) {
    this.cursor = cursor
    if (cursor) this.history.opened(cursor)
    this.#shut = how(this, { url, key, topics })
  }

  /** It is let in; `cursor` is the position that it was told, if it was. */
  opened(cursor) {
    this.opens++
    this.isLetIn = true
    this.history.opened(cursor)
  }

  heard(cursor, data) {
    this.newest = cursor
    this.history.heard(cursor, data.id)
    this.onEvent(data, this)
  }

  gap(gap) { this.history.gap(gap) }

  /** It was cut off, sent away or not let in. */
  cut() {
    if (this.isClosed) return
    this.cuts++
    if (this.isLetIn) {
      this.history.left()
      this.onCut()
    }
    this.isLetIn = false
  }

  /** It will not come back. */
  ended(why) {
    this.history.ended(why)
    this.close()
  }

  close() {
    if (this.isClosed) return
    this.isClosed = true
    this.#shut()
  }

  /** Waits until it has been let in once more than `before` times. */
  isIn(before = 0) { return until(`${this.name} to be let in`, () => this.opens > before) }

  again(step) { if (!this.isClosed) setTimeout(() => { if (!this.isClosed) step() }, AGAIN * (0.5 + Math.random())) }
}

const query = (topics, more = {}) => new URLSearchParams({ ...(topics.length ? { topics: topics.join() } : {}), ...more })
const authorized = key => (key ? { authorization: `Bearer ${key}` } : {})
const tells = reason => `${reason.code} ${reason.reason}`

/** npm `eventsource`, which does as browsers do: it comes back with the last id by itself, and gives up on any answer but 200. */
function bySse(listener, { url, key, topics }) {
  const source = new EventSource(`${url}/v1/events?${query(topics, listener.cursor ? { cursor: listener.cursor } : {})}`, {
    fetch: (input, init) => fetch(input, { ...init, headers: { ...init.headers, ...authorized(key) } }),
  })
  const on = (name, step) => source.addEventListener(name, event => { if (!listener.isClosed) step(JSON.parse(event.data), event.lastEventId) })
  on('tidings.open', ({ cursor }) => listener.opened(cursor))
  on('tidings.gap', gap => listener.gap(gap))
  on('tidings.close', reason => { if (!reason.reconnect) listener.ended(tells(reason)) })
  on(COUNTED, (data, id) => listener.heard(id, data))
  source.addEventListener('error', event => {
    listener.cut()
    if (source.readyState === EventSource.CLOSED && !listener.isClosed) listener.ended(`its EventSource gave up: ${event.code} ${event.message}`)
  })
  return () => source.close()
}

/** npm `ws`, opened again with the newest cursor. */
function byWebSocket(listener, { url, key, topics }) {
  let ws
  const open = () => {
    ws = new WebSocket(`${url.replace(/^http/, 'ws')}/v1/ws?${query(topics.length ? topics : ['**'], listener.cursor ? { cursor: listener.cursor } : {})}`, { headers: authorized(key) })
    ws.on('error', () => {})
    ws.on('unexpected-response', (_, response) => {
      if (response.statusCode === 401) listener.ended('refused with 401')
      ws.terminate()
    })
    ws.on('message', text => {
      const message = JSON.parse(text)
      if (listener.isClosed) return
      // All is one subscription: each cursor but the connection's own is its.
      if (message.cursor && message.type !== 'open') listener.cursor = message.cursor
      if (message.gap) listener.gap(message.gap)
      if (message.type === 'subscribed') listener.opened(message.cursor)
      if (message.type === 'gap') {
        listener.cursor = message.resumed
        listener.gap(message)
      }
      if (message.type === 'event' && message.name === COUNTED) listener.heard(message.cursor, message.data)
      if (message.type === 'close' && !message.reconnect) listener.ended(tells(message))
    })
    ws.on('close', () => {
      listener.cut()
      listener.again(open)
    })
  }
  open()
  return () => ws.terminate()
}

/** `socket.io-client`, which hands its place back by itself. */
function bySocketIo(listener, { url, key, topics, transports = ['polling', 'websocket'] }) {
  const socket = io(url, {
    forceNew: true,
    transports,
    reconnectionDelay: AGAIN,
    reconnectionDelayMax: 4 * AGAIN,
    timeout: 20_000,
    auth: { ...(key ? { token: key } : {}), ...(topics.length ? { topics } : {}), ...(listener.cursor ? { cursor: listener.cursor } : {}) },
  })
  const on = (name, step) => socket.on(name, (...args) => { if (!listener.isClosed) step(...args) })
  on('tidings.open', ({ cursor }) => listener.opened(cursor))
  on('tidings.gap', gap => listener.gap(gap))
  on(COUNTED, (data, cursor) => listener.heard(cursor, data))
  on('tidings.close', reason => { if (!reason.reconnect) listener.ended(tells(reason)) })
  on('disconnect', reason => {
    listener.cut()
    if (reason === 'io server disconnect') listener.again(() => socket.connect())
  })
  on('connect_error', error => {
    listener.cut()
    // A stock client is told why in a sentence, and by nothing else.
    if (error.message === 'the credential was revoked') listener.ended(error.message)
    // Refused by the hub, and not by the network: the client leaves the coming back to its user.
    else if (!socket.active) listener.again(() => socket.connect())
  })
  return () => socket.close()
}

/** `fetch`, again and again, each time with the cursor of the last answer. */
function byPoll(listener, { url, key, topics }) {
  const stopped = new AbortController()
  const poll = async () => {
    const cursor = listener.cursor
    const answer = await fetch(`${url}/v1/poll?${query(topics, { wait: '10', ...(cursor ? { cursor } : {}) })}`, { headers: authorized(key), signal: stopped.signal })
    if (answer.status === 401) return listener.ended('refused with 401')
    if (!answer.ok) throw new Error(`a poll was answered with ${answer.status}`)
    const { events, gap, closed, cursor: next } = await answer.json()
    // What happened while it was let in for the first time is told with the position behind it.
    if (!listener.isLetIn) listener.opened(cursor ?? (events.length ? undefined : next))
    if (gap) listener.gap(gap)
    for (const event of events) if (event.name === COUNTED) listener.heard(event.cursor, event.data)
    listener.cursor = next
    if (closed && !COME_BACK.includes(closed)) listener.ended(closed)
  }
  const loop = async () => {
    while (!listener.isClosed) {
      try { await poll() } catch {
        listener.cut()
        await new Promise(done => setTimeout(done, AGAIN * (0.5 + Math.random())))
      }
    }
  }
  loop()
  return () => stopped.abort()
}
