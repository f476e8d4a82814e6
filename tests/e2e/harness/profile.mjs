// One profile in front of a stand-in for its app, as a test wants it: with variants, another base path, or changed text.
import http from 'node:http'
import { once } from 'node:events'
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import assert from 'node:assert/strict'
import { io } from 'socket.io-client'
import { root, startHub } from './hub.mjs'
import { startCurl } from './curl.mjs'
import { until } from './wait.mjs'

/** The key of the publishing app. */
export const PUBLISHER = { 'x-api-key': 'tdg_the-key-of-the-publishing-app' }

/** A stand-in for an app. `answer(request)` gives who asks, or a status, or nobody: 401. `asked` is what it was asked. */
export async function startApp(t, answer) {
  const asked = []
  const server = http.createServer((request, response) => {
    asked.push({ url: request.url, headers: request.headers })
    const found = answer(request) ?? 401
    response.writeHead(typeof found === 'number' ? found : 200, { 'content-type': 'application/json' })
    response.end(JSON.stringify(typeof found === 'number' ? { error: 'internal error' } : found))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => { server.closeAllConnections(); server.close() })
  return { asked, url: `http://127.0.0.1:${server.address().port}` }
}

/** A copy of a profile in a folder of its own, with some of its text replaced: each text stands in it once. */
export async function copyProfile(t, name, changes = {}) {
  const home = await mkdtemp(join(tmpdir(), `tidings-${name}-`))
  t.after(() => rm(home, { recursive: true, force: true }))
  await cp(join(root, 'profiles', name), home, { recursive: true })
  const file = join(home, 'profile.toml')
  let text = await readFile(file, 'utf8')
  for (const [from, to] of Object.entries(changes)) {
    assert.equal(text.split(from).length, 2, `the profile ${name} has ${JSON.stringify(from)} once`)
    text = text.replace(from, () => to)
  }
  await writeFile(file, text)
  return { home, file, text }
}

/** A hub that serves a copy of a profile with `changes`, in which the app, which the test plays, is given more time to answer. */
export async function startProfile(t, name, { answer, values = {}, variants = [], basePath, changes, more = '', env } = {}) {
  const app = await startApp(t, answer ?? (() => undefined))
  const { home, file, text } = await copyProfile(t, name, changes)
  await writeFile(file, text.replace(/kind = "forward"(,|\n)/g, (kind, end) => `${kind}${end === ',' ? ' ' : ''}timeout = "60s"${end}`))
  const toml = value => Array.isArray(value) ? `[${value.map(toml)}]` : JSON.stringify(value)
  const all = Object.entries({ app_url: app.url, ...values }).map(([key, value]) => `${key} = ${toml(value)}`)
  const hub = await startHub(t, {
    env,
    config: `
      [[auth.sources]]
      kind = "api-key"
      keys = [{ name = "app", value = "${PUBLISHER['x-api-key']}", publish = true, operator = true }]

      [[auth.sources]]
      kind = "ticket"

      ${more}
      [[profiles]]
      path = "${home}"
      variants = ${toml(variants)}
      ${basePath === undefined ? '' : `base_path = "${basePath}"`}
      values = { ${all.join(', ')} }
    `,
  })
  return { hub, app, post: events => hub.publish(events, { profile: name, headers: PUBLISHER }) }
}

/** Listens with curl. `heard` is `[name, data, text]` of what came, without the hub's own events. */
export async function listen(t, url, { headers = {}, lastId, args = [] } = {}) {
  const heard = [], own = []
  const stream = startCurl(t, url, event => {
    if (event.event?.startsWith('tidings.')) own.push(event)
    else heard.push([event.event, JSON.parse(event.data), event.data])
  }, { headers: { ...headers, ...(lastId ? { 'Last-Event-ID': lastId } : {}) }, args, again: false })
  // Once it is read to its end: its id is where the stream begins.
  await until(`${url} to open`, () => own.some(({ event }) => event === 'tidings.open') || stream.code() !== undefined)
  assert.match(stream.bytes(), /event: tidings\.open/)
  return { ...stream, heard, own, names: () => heard.map(([name]) => name) }
}

/** Listens with socket.io-client. `heard` is `[name, …arguments]` of what came, `reasons` why it was disconnected. */
export async function listenBySocketIo(t, url, options) {
  return follow(t, io(url, { forceNew: true, ...options }))
}

/** Listens on a socket that somebody else opened, and waits until it is connected. */
export async function follow(t, socket) {
  t.after(() => socket.close())
  const heard = [], reasons = []
  let connected = false
  socket.onAny((...event) => heard.push(event))
  socket.on('disconnect', reason => reasons.push(reason))
  socket.on('connect', () => { connected = true })
  await until('the socket to connect', () => connected)
  return { socket, heard, reasons, names: () => heard.map(([name]) => name) }
}
