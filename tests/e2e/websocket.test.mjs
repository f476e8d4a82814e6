// WebSocket at /v1/ws, as scripts and pages meet it.
import { test } from 'node:test'
import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import { execFile } from 'node:child_process'
import { readFile, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { io } from 'socket.io-client'
import { startHub } from './harness/hub.mjs'
import { startProxy } from './harness/proxy.mjs'
import { startChromium } from './harness/chromium.mjs'
import { openSocket } from './harness/websocket.mjs'
import { Counter, Ledger, cutTwice } from './harness/count.mjs'
import { until } from './harness/wait.mjs'

const key = name => `tdg_the-key-of-${name}-and-of-nobody-else`
const APP = { 'x-api-key': key('app') }, READER = { 'x-api-key': key('reader') }
const SECRET = 'a secret of thirty-two bytes, or more'
const config = `
  [[auth.sources]]
  kind = "api-key"
  keys = [
    { name = "app", value = "${key('app')}", publish = true, operator = true },
    { name = "reader", value = "${key('reader')}", grants = ["all"] },
    { name = "other", value = "${key('other')}", grants = ["all"] },
    { name = "limited", value = "${key('limited')}", grants = ["all"], publish = { topics = ["job/*"], names = ["progress"] } },
  ]
  [[auth.sources]]
  kind = "jwt"
  in = [{ header = "authorization", scheme = "Bearer" }, { subprotocol = "bearer." }, { payload = "token" }]
  algorithms = ["HS256"]
  secret = "${SECRET}"
  principal = { id = "{claims.sub}", grants = ["{claims.grants}"] }
  [[auth.sources]]
  kind = "ticket"
`
/** What comes into a silence, and so at any time on a machine that stands still. */
const SILENT = ['cursor', 'heartbeat']
const said = (text, topic = 'talk/here') => ({ name: 'said', topic, audience: ['all'], data: { text } })
const counted = topic => n => ({ name: 'counted', topic, audience: ['all'], data: { n } })
const base64 = value => Buffer.from(JSON.stringify(value)).toString('base64url')
/** A token of `who`, which counts for `seconds`. */
function token(who, seconds, grants = ['all']) {
  const text = `${base64({ alg: 'HS256', typ: 'JWT' })}.${base64({ sub: who, exp: Math.floor(Date.now() / 1000) + seconds, grants })}`
  return `${text}.${createHmac('sha256', SECRET).update(text).digest('base64url')}`
}
const post = (hub, path, body, headers = APP) => fetch(hub.url + path, { method: 'POST', headers: { 'content-type': 'application/json', ...headers }, body: JSON.stringify(body) })
const ticket = async hub => (await (await post(hub, '/v1/tickets', {}, READER)).json()).ticket
async function open(t, hub, options = { headers: READER }, query = '') {
  const socket = openSocket(t, `${hub.url}/v1/ws${query}`, options)
  await socket.gets(1)
  return socket
}
async function subscribe(socket, id, more) {
  socket.send({ type: 'subscribe', id, ...more })
  return socket.hears({ type: 'subscribed', id })
}

/** A message that says why and whether to come back, and then a Close frame with its code. */
function assertLastWords(socket, closed, code, reason, reconnect) {
  const last = socket.heard().at(-1)
  assert.deepEqual([last.type, last.code, last.reason, last.reconnect], ['close', code, reason, reconnect])
  assert.equal(closed.code, code)
}

/** A script that comes back by itself, each subscription to its own place (`protocol/README.md` §8.3). Also runs in a page. */
function resumer(WebSocket, connect, subscriptions, note) {
  const cursors = {}, live = {}
  let socket, ended = false
  const listen = async () => {
    if (ended) return
    try { socket = new WebSocket(...await connect()) } catch { return void setTimeout(listen, 20) }
    socket.onopen = () => {
      for (const [id, topic] of Object.entries(subscriptions)) {
        live[id] = false
        socket.send(JSON.stringify({ type: 'subscribe', id, topics: [topic], cursor: cursors[id] }))
      }
    }
    socket.onmessage = ({ data }) => {
      const message = JSON.parse(data)
      const { type, id, cursor, topic } = message
      if (type === 'subscribed') note('in')
      if (type === 'subscribed' && message.gap) note('gap', message.gap)
      if (type === 'subscribed') live[id] = message.live
      if (type === 'live') live[id] = true
      if (type === 'subscribed' || type === 'live') cursors[id] = cursor
      if (type === 'cursor') for (const id of Object.keys(subscriptions)) if (live[id]) cursors[id] = cursor
      if (type !== 'event') return
      for (const [id, mine] of Object.entries(subscriptions)) if (mine === topic) { cursors[id] = cursor; note(id, message.data.n) }
    }
    socket.onerror = () => {}
    socket.onclose = () => setTimeout(listen, 20)
  }
  listen()
  return { close() { ended = true; socket?.close() } }
}

test('npm ws goes on with each of its subscriptions after cuts and a crash without gap or duplicate', async t => {
  const hub = await startHub(t, { config })
  const proxy = await startProxy(t, hub)
  const { WebSocket } = await import('ws')
  const ledgers = { a: new Ledger(), b: new Ledger() }, gaps = []
  const client = resumer(WebSocket, () => [`${proxy.url.replace('http', 'ws')}/v1/ws`, ['tidings.v1', `bearer.${key('reader')}`]],
    { a: 'count/a', b: 'count/b' }, (id, n) => id === 'gap' ? gaps.push(n) : ledgers[id]?.note(n))
  t.after(() => client.close())
  // Each counts for itself: the two subscriptions are at different places when a cut comes.
  const counter = new Counter(hub, { event: counted('count/a'), headers: APP })
  const second = new Counter(hub, { event: counted('count/b'), headers: APP })
  t.after(() => { counter.abandon(); second.abandon() })
  await cutTwice({ hub, proxy, ledger: ledgers.a, counter })
  const last = await second.stop()
  await ledgers.b.reaches(last)
  ledgers.b.assertUnbroken()
  assert.deepEqual(gaps, [])
})

test("Chromium's WebSocket brings its key as a subprotocol, and goes on after cuts and a crash without gap or duplicate", async t => {
  const hub = await startHub(t, { config })
  const proxy = await startProxy(t, hub)
  const page = await (await startChromium(t)).newPage()
  await page.goto(`${proxy.url}/health`)
  await page.evaluate(([source, key]) => {
    window.numbers = []
    window.gaps = []
    window.protocols = new Set()
    const loud = class extends WebSocket {
      constructor(...args) { super(...args); this.addEventListener('open', () => window.protocols.add(this.protocol)) }
    }
    const resumer = eval(`(${source})`)
    resumer(loud, () => [`ws://${location.host}/v1/ws`, ['tidings.v1', `bearer.${key}`]], { a: 'count/a' }, (id, n) => ({ gap: window.gaps, a: window.numbers })[id]?.push(n))
  }, [resumer.toString(), key('reader')])
  const ledger = new Ledger(() => page.evaluate(() => window.numbers))
  const counter = new Counter(hub, { event: counted('count/a'), headers: APP })
  t.after(() => counter.abandon())
  await cutTwice({ hub, proxy, ledger, counter })
  assert.deepEqual(await page.evaluate(() => [[...window.protocols], window.gaps]), [['tidings.v1'], []])
})

test('Chromium comes with a ticket in the query, and again with another', async t => {
  const hub = await startHub(t, { config })
  const page = await (await startChromium(t)).newPage()
  await page.goto(`${hub.url}/health`)
  await page.exposeFunction('ticket', () => ticket(hub))
  await page.evaluate(source => {
    window.numbers = []
    window.isIn = false
    const note = (id, n) => { if (id === 'in') window.isIn = true; else window.numbers.push(n) }
    const resumer = eval(`(${source})`)
    resumer(WebSocket, async () => [`ws://${location.host}/v1/ws?ticket=${await window.ticket()}`], { a: 'count/a' }, note)
  }, resumer.toString())
  await until('the page to be on', () => page.evaluate(() => window.isIn))
  await hub.publish(counted('count/a')(0), { headers: APP })
  await until('the first', () => page.evaluate(() => window.numbers.length))
  await hub.crash()
  await hub.publish([1, 2].map(counted('count/a')), { headers: APP })
  await until('the rest', async () => (await page.evaluate(() => window.numbers)).length >= 3)
  assert.deepEqual(await page.evaluate(() => window.numbers), [0, 1, 2])
})

test('a page of another origin is refused in Chromium, unless its origin is listed', async t => {
  const proxies = [], page = await (await startChromium(t)).newPage()
  for (const listed of [false, true]) {
    // Known before the hub that it leads to: its origin stands in the hub's settings.
    const target = { port: 0 }
    const elsewhere = await startProxy(t, target)
    const hub = await startHub(t, { config: `${config}\n[api]\ncors = ${listed ? `["${elsewhere.url}"]` : '"same"'}` })
    target.port = hub.port
    proxies.push(elsewhere)
    await page.goto(`${elsewhere.url}/health`)
    const told = url => page.evaluate(([url, key]) => new Promise(done => {
      const seen = []
      const socket = new WebSocket(url, ['tidings.v1', `bearer.${key}`])
      socket.onopen = () => { seen.push('open'); socket.close(1000) }
      socket.onerror = () => seen.push('error')
      socket.onclose = ({ code }) => done([...seen, code])
    }), [url.replace('http', 'ws'), key('reader')])
    assert.deepEqual(await told(`${hub.url}/v1/ws`), listed ? ['open', 1000] : ['error', 1006])
    assert.deepEqual(await told(`${elsewhere.url}/v1/ws`), ['open', 1000], 'its own')
    const raw = openSocket(t, `${hub.url}/v1/ws`, { headers: READER, origin: 'http://evil.example' })
    assert.equal((await raw.ends()).status, 403)
  }
})

test('who may not come is refused by status before there is a socket', async t => {
  const hub = await startHub(t, { config })
  for (const [status, options, query = ''] of [
    [401, {}], [401, { headers: { 'x-api-key': 'wrong' } }], [401, { protocols: ['tidings.v1', 'bearer.wrong'] }], [401, {}, '?ticket=wrong'],
    [400, { headers: READER }, '?topic=a//b'],
  ]) {
    const { status: told, type } = await openSocket(t, `${hub.url}/v1/ws${query}`, options).ends()
    assert.deepEqual([told, type], [status, 'application/problem+json'], JSON.stringify(options))
  }
  const plain = await fetch(`${hub.url}/v1/ws`, { headers: READER })
  assert.equal(plain.status, 426)
})

test('what a subscription hears is what it asked for and may see, and a signal has no place', async t => {
  const hub = await startHub(t, { config })
  const socket = await open(t, hub)
  const [hello] = socket.heard()
  assert.deepEqual([hello.type, typeof hello.cursor, typeof hello.heartbeat], ['open', 'string', 'number'])
  const { live } = await subscribe(socket, 'talk', { topics: ['talk/*'], names: ['said'] })
  assert.equal(live, true)
  const publish = events => hub.publish(events, { headers: APP })
  await publish([
    said('not asked for', 'other/here'), { ...said('not asked for'), name: 'whispered' }, { ...said('not to be seen'), audience: ['role/admin'] },
    said('heard'),
  ])
  await publish({ ...said('a signal'), signal: true })
  const event = await socket.hears({ type: 'event' })
  const signal = await socket.hears({ type: 'signal' })
  assert.deepEqual(Object.keys(event).sort(), ['cursor', 'data', 'name', 'time', 'topic', 'type'])
  assert.deepEqual([event.data, signal.data, signal.cursor], [{ text: 'heard' }, { text: 'a signal' }, undefined])
  socket.send({ type: 'unsubscribe', id: 'talk' })
  await socket.hears({ type: 'unsubscribed', id: 'talk' })
  await publish(said('nobody listens'))
  // Where the connection has not come to what was published yet, this lies ahead of it: it is live, and tells no past.
  const again = await subscribe(socket, 'again', { topics: ['talk/*'], cursor: event.cursor })
  if (!again.live) await socket.hears({ type: 'live', id: 'again' })
  const events = () => socket.heard().filter(({ type }) => type === 'event').map(({ data }) => data.text)
  await until('what was published meanwhile', () => events().length > 1)
  assert.deepEqual(events(), ['heard', 'nobody listens'])
})

test('a subscription that comes with a place is told its past, alone, and the others go on afterwards where they were', async t => {
  const hub = await startHub(t, { config })
  const publish = (topic, from, to) => hub.publish(Array.from({ length: to - from }, (_, i) => counted(topic)(from + i)), { headers: APP })
  await publish('count/a', 1, 901)
  const socket = await open(t, hub)
  await subscribe(socket, 'b', { topics: ['count/b'] })
  socket.send({ type: 'subscribe', id: 'a', topics: ['count/a'], cursor: 'earliest' })
  await publish('count/b', 1, 51)
  await until('all', () => socket.heard().filter(({ type }) => type === 'event').length === 950)
  const all = socket.heard(), at = (type, id) => all.findIndex(message => message.type === type && message.id === id)
  assert.equal(all[at('subscribed', 'a')].live, false)
  const past = all.slice(at('subscribed', 'a') + 1, at('live', 'a'))
  assert.deepEqual([...new Set(past.map(({ topic }) => topic))], ['count/a'])
  for (const [topic, count] of [['count/a', 900], ['count/b', 50]]) {
    assert.deepEqual(all.filter(message => message.topic === topic).map(({ data }) => data.n), Array.from({ length: count }, (_, i) => i + 1), topic)
  }
})

test('a client publishes over the same connection what its key allows, and is told when it is kept', async t => {
  const hub = await startHub(t, { config })
  const listener = await open(t, hub)
  await subscribe(listener, 'all')
  const progress = topic => ({ name: 'progress', topic, audience: ['all'], data: 1 })
  const socket = await open(t, hub, { headers: { 'x-api-key': key('limited') } })
  socket.send({ type: 'publish', id: 'one', event: progress('job/1') })
  socket.send({ type: 'publish', id: 'two', events: [progress('job/2'), progress('job/3')] })
  socket.send({ type: 'publish', id: 'no', event: progress('book/1') })
  socket.send({ type: 'publish', event: progress('job/4') })
  socket.send({ type: 'ping', id: 'after' })
  await socket.hears({ type: 'pong', id: 'after' })
  const [one, two, no] = ['one', 'two', 'no'].map(id => socket.heard().find(message => message.id === id))
  assert.deepEqual([one.type, one.results.length, two.results.length], ['published', 1, 2])
  assert.deepEqual([no.type, no.status], ['error', 403])
  assert.match(no.detail, /limited may not publish/)
  assert.deepEqual(socket.heard().map(({ type, id }) => id ?? type).filter(what => !SILENT.includes(what)), ['open', 'one', 'two', 'no', 'after'], 'one without an id is not answered')
  await until('all', () => listener.heard().filter(({ type }) => type === 'event').length === 4)
  const events = listener.heard().filter(({ type }) => type === 'event')
  assert.deepEqual(events.map(({ topic }) => topic), ['job/1', 'job/2', 'job/3', 'job/4'])
  assert.deepEqual(events.slice(0, 3).map(({ cursor }) => cursor), [...one.results, ...two.results].map(({ cursor }) => cursor))
  // A reader's key, and whoever came with a ticket, may not publish at all.
  for (const reader of [await open(t, hub), await open(t, hub, {}, `?ticket=${await ticket(hub)}`)]) {
    reader.send({ type: 'publish', id: 'no', event: progress('job/1') })
    assert.equal((await reader.hears({ type: 'error', id: 'no' })).status, 403)
  }
})

test('a connection ends with its token, 4001, unless it was given a new one in time', async t => {
  const hub = await startHub(t, { config })
  // They count for longer than anything here stands still.
  const life = 12
  const renewed = await open(t, hub, { protocols: ['tidings.v1', `bearer.${token('ann', life)}`] })
  const short = await open(t, hub, { headers: { authorization: `Bearer ${token('ann', life)}` } })
  for (const socket of [short, renewed]) await subscribe(socket, 's', { topics: ['talk/*', 'secret/*'] })
  renewed.send({ type: 'authenticate', id: 'a', token: token('ann', 600, ['all', 'secret']) })
  const { expires } = await renewed.hears({ type: 'authenticated', id: 'a' })
  assert.ok(expires > Date.now() + 500_000, `${expires}`)
  // Somebody else does not slip into a connection.
  renewed.send({ type: 'authenticate', id: 'b', token: token('bob', 600) })
  assert.equal((await renewed.hears({ type: 'error', id: 'b' })).status, 403)
  renewed.send({ type: 'authenticate', id: 'c', token: 'wrong' })
  assert.equal((await renewed.hears({ type: 'error', id: 'c' })).status, 401)
  assertLastWords(short, await short.ends(), 4001, 'expired', false)
  assert.equal(renewed.closed, undefined)
  // What the new token grants is granted now.
  await hub.publish({ ...said('psst', 'secret/here'), audience: ['secret'] }, { headers: APP })
  assert.equal((await renewed.hears({ type: 'event' })).topic, 'secret/here')
})

test('a revoked principal\'s connections end with 4002, and nobody else\'s', async t => {
  const hub = await startHub(t, { config })
  const mine = [await open(t, hub), await open(t, hub, { protocols: ['tidings.v1', `bearer.${key('reader')}`] })]
  const other = await open(t, hub, { headers: { 'x-api-key': key('other') } })
  assert.equal((await post(hub, '/v1/revoke', { principal: 'reader' })).status, 200)
  for (const socket of mine) {
    assertLastWords(socket, await socket.ends(), 4002, 'revoked', false)
  }
  other.send({ type: 'ping', id: 'still' })
  await other.hears({ type: 'pong', id: 'still' })
  assert.equal((await openSocket(t, `${hub.url}/v1/ws`, { headers: READER }).ends()).status, 401)
})

test('on SIGTERM every connection is told to come back, 3001, and the program ends with 0', async t => {
  // Who is not sent away within twice the window is cut: it is far longer than anything stands still.
  const hub = await startHub(t, { config, env: { TIDINGS_LIMITS__DRAIN_WINDOW: '5s' } })
  const sockets = []
  for (let i = 0; i < 10; i++) sockets.push(await open(t, hub))
  const stock = io(hub.url, { transports: ['websocket'], auth: { token: token('ann', 600) }, reconnection: false })
  t.after(() => stock.close())
  const reasons = []
  stock.on('disconnect', reason => reasons.push(reason))
  await until('to connect', () => stock.connected)
  process.kill(hub.pid, 'SIGTERM')
  for (const socket of sockets) {
    assertLastWords(socket, await socket.ends(), 3001, 'draining', true)
  }
  await until('the other to be sent away', () => reasons.length)
  // A stock client comes back by itself only if it is the transport that ends.
  assert.deepEqual(reasons, ['transport close'])
  assert.deepEqual(await hub.ended, { code: 0, signal: null })
})

test('what breaks the rules is answered by the code that says which, and what is only unknown by an error', async t => {
  const hub = await startHub(t, { config, env: { TIDINGS_LIMITS__MESSAGE_BYTES: '10000' } })
  for (const [code, send] of [
    [1003, socket => socket.ws.send(Buffer.from('{}'))],
    [1007, socket => socket.send('hello')],
    [1009, socket => socket.send(JSON.stringify({ type: 'ping', pad: 'x'.repeat(10_000) }))],
    [1002, socket => socket.ws._socket.write(Buffer.from([0x81, 0x02, 0x68, 0x69]))], // not masked
    [1008, socket => {
      // In one piece: who goes on sending is reset, and may not hear why.
      socket.ws._socket.cork()
      for (let i = 0; i < 400; i++) socket.send({ type: 'ping' })
      socket.ws._socket.uncork()
    }],
  ]) {
    const socket = await open(t, hub)
    send(socket)
    assert.equal((await socket.ends()).code, code)
  }
  const socket = await open(t, hub)
  for (const message of [{ type: 'sing', id: 'x' }, { id: 'x' }, { type: 'subscribe', id: 'x', topics: ['a//b'] }, { type: 'subscribe', topics: [] }]) {
    const before = socket.messages.length
    socket.send(message)
    const { status, code, detail } = await socket.hears({ type: 'error' }, before)
    assert.ok(status === 400 && code && detail, socket.messages.at(-1))
  }
  assert.equal(socket.closed, undefined)
  // RFC 6455 §5.5: a ping is answered, and a close with its own code.
  const pong = new Promise(done => socket.ws.once('pong', data => done(data.toString())))
  socket.ws.ping('hello')
  assert.equal(await pong, 'hello')
  socket.ws.close(1000, 'bye')
  assert.equal((await socket.ends()).code, 1000)
})

/** A hub with TLS of its own, for `localhost`. `secure.port` is another one after each start. */
async function startSecure(t) {
  const home = await mkdtemp(join(tmpdir(), 'tidings-tls-'))
  t.after(() => rm(home, { recursive: true, force: true }))
  const [cert, secret] = [join(home, 'cert.pem'), join(home, 'key.pem')]
  await promisify(execFile)('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2',
    '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost', '-keyout', secret, '-out', cert])
  const hub = await startHub(t, { config: `${config}\n[listen]\nhttps = ["127.0.0.1:0"]\n[tls]\ncert = "${cert}"\nkey = "${secret}"` })
  const ports = () => [...hub.output.matchAll(/https:\/\/127\.0\.0\.1:(\d+)\n/g)]
  await until('the address with TLS', () => ports().length)
  const secure = { get port() { return Number(ports().at(-1)[1]) } }
  return { hub, secure, ca: await readFile(cert) }
}

test('wss is the same over the program\'s own TLS, and so is Socket.IO, through cuts and a crash', async t => {
  const { hub, secure, ca } = await startSecure(t)
  const proxy = await startProxy(t, secure)
  const authority = proxy.url.replace('http://127.0.0.1', 'localhost')
  const { WebSocket } = await import('ws')
  class Trusting extends WebSocket { constructor(url, protocols) { super(url, protocols, { ca }) } }
  const ledgers = { ws: new Ledger(), socketio: new Ledger() }
  const client = resumer(Trusting, () => [`wss://${authority}/v1/ws`, ['tidings.v1', `bearer.${key('reader')}`]], { ws: 'count/here' }, (id, n) => ledgers[id]?.note(n))
  t.after(() => client.close())
  const stock = io(`https://${authority}`, { ca, reconnectionDelay: 20, reconnectionDelayMax: 100, auth: { token: token('ann', 600) } })
  t.after(() => stock.close())
  stock.on('counted', ({ n }) => ledgers.socketio.note(n))
  const counter = new Counter(hub, { event: counted('count/here'), headers: APP })
  t.after(() => counter.abandon())
  await ledgers.socketio.grows()
  await cutTwice({ hub, proxy, ledger: ledgers.ws, counter })
  await ledgers.socketio.reaches(ledgers.ws.last)
  ledgers.socketio.assertUnbroken()
  await until('the upgrade', () => stock.io.engine.transport.name === 'websocket')
  assert.equal(stock.recovered, true)
})

test('a page over HTTP/2 opens both: Socket.IO polls over HTTP/2 and upgrades', async t => {
  const { hub, secure } = await startSecure(t)
  const page = await (await (await startChromium(t)).newContext({ ignoreHTTPSErrors: true })).newPage()
  await page.goto(`https://localhost:${secure.port}/health`)
  assert.equal(await page.evaluate(() => performance.getEntriesByType('navigation')[0].nextHopProtocol), 'h2')
  await page.addScriptTag({ path: new URL('./node_modules/socket.io-client/dist/socket.io.min.js', import.meta.url).pathname })
  await page.evaluate(([key, token, silent]) => {
    window.heard = { ws: [], polls: [], upgrades: [] }
    const ws = new WebSocket(`wss://${location.host}/v1/ws?topic=talk/*`, ['tidings.v1', `bearer.${key}`])
    ws.onmessage = ({ data }) => { const { type } = JSON.parse(data); if (!silent.includes(type)) window.heard.ws.push(type) }
    for (const [how, transports] of [['polls', ['polling']], ['upgrades', ['polling', 'websocket']]]) {
      const socket = window.io({ transports, forceNew: true, auth: { token } })
      // The way changes as soon as the transport is open: before or after the namespace has answered.
      socket.io.on('open', () => socket.io.engine.on('upgrade', () => window.heard[how].push('upgraded')))
      socket.on('connect', () => window.heard[how].push('on'))
      socket.on('said', data => window.heard[how].push(data.text))
    }
  }, [key('reader'), token('ann', 600), SILENT])
  const heard = () => page.evaluate(() => window.heard)
  await until('all to be on', async () => { const { ws, polls, upgrades } = await heard(); return ws.length === 2 && polls.length && upgrades.length === 2 })
  await hub.publish(said('hello'), { headers: APP })
  await until('all to hear', async () => { const { ws, polls, upgrades } = await heard(); return ws.length > 2 && polls.length > 1 && upgrades.length > 2 })
  const { ws, polls, upgrades } = await heard()
  assert.deepEqual({ ws, polls }, { ws: ['open', 'subscribed', 'event'], polls: ['on', 'hello'] })
  assert.deepEqual([...upgrades.slice(0, 2).sort(), ...upgrades.slice(2)], ['on', 'upgraded', 'hello'])
})
