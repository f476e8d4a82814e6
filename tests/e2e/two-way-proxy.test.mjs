// WebSocket and Socket.IO behind nginx: with the configuration that deploy/ gives to operators, and with one that lets no WebSocket
// through.
import { test } from 'node:test'
import assert from 'node:assert/strict'
import { startHub } from './harness/hub.mjs'
import { startNginx } from './harness/nginx.mjs'
import { startChromium } from './harness/chromium.mjs'
import { CLIENTS, connect, latest, options, topics, TRANSPORTS } from './harness/socketio.mjs'
import { openSocket } from './harness/websocket.mjs'
import { Counter, Ledger } from './harness/count.mjs'
import { until } from './harness/wait.mjs'

/** A site that passes on requests and nothing more: nginx's defaults, but for buffering. */
const plain = hub => port => `
  server {
    listen 127.0.0.1:${port};
    location / {
      proxy_pass http://127.0.0.1:${hub.port};
      proxy_http_version 1.1;
      proxy_buffering off;
    }
  }`

/** Reloads nginx and restarts the hub while numbers are published, then checks that each client saw each once. */
async function disturb({ t, hub, nginx, clients, settles = () => {} }) {
  const counter = new Counter(hub)
  t.after(() => counter.abandon())
  const all = step => Promise.all(clients.map(step))
  const grow = () => all(({ ledger }) => ledger.grows())
  await grow()
  const beforeAll = clients.map(({ ends }) => ends)
  for (const step of [nginx.reload, () => hub.crash(), nginx.reload]) {
    // A client whose upgrade is cut, and not its poll, goes on polling for good.
    await all(settles)
    const before = clients.map(({ ends }) => ends)
    await step()
    // A WebSocket is cut each time: what is read after that has come by another.
    await all((client, index) => client.how !== 'over WebSocket' || until(`${client.name} to be cut off`, () => client.ends > before[index]))
    await grow()
  }
  // A poll may be answered before nginx lets go of it, and not before the hub is killed.
  await all((client, index) => until(`${client.name} to be cut off`, () => client.ends > beforeAll[index]))
  const last = await counter.stop()
  await all(({ ledger }) => ledger.reaches(last))
  for (const { name, ledger, gaps } of clients) {
    await t.test(name, () => {
      ledger.assertUnbroken()
      assert.equal(ledger.last, last)
      assert.deepEqual(gaps, [])
    })
  }
}

test('behind nginx every client goes on through reloads and a crash without gap or duplicate', async t => {
  const hub = await startHub(t)
  const nginx = await startNginx(t, hub)
  const clients = []
  for (const [name, open] of Object.entries(CLIENTS)) for (const [how, more] of Object.entries(TRANSPORTS)) {
    clients.push(Object.assign(connect(t, open, nginx.url, more), { name: `${name} ${how}`, how }))
  }
  // A WebSocket of our own, which is the test's to open again.
  const ws = { name: 'npm ws', how: 'over WebSocket', ledger: new Ledger(), gaps: [], ends: 0 }
  let cursor, running = true
  t.after(() => { running = false })
  const listen = () => {
    const socket = openSocket(t, `${nginx.url}/v1/ws?topics=${topics}${cursor ? `&cursor=${cursor}` : ''}`)
    socket.ws.on('message', text => {
      const message = JSON.parse(text)
      // All is one subscription, and it is live from the beginning or alone: each cursor is its own.
      if (message.cursor && message.type !== 'open') cursor = message.cursor
      if (message.type === 'event') ws.ledger.note(message.data.n)
      if (message.gap) ws.gaps.push(message.gap)
    })
    socket.ws.on('close', () => {
      if (socket.messages.length) ws.ends++
      if (running) setTimeout(listen, 20)
    })
  }
  listen()
  const settles = async ({ name, how, transport }) => {
    if (transport) await until(`${name} to have upgraded`, () => transport() === (how === 'by polling' ? 'polling' : 'websocket'))
  }
  await disturb({ t, hub, nginx, clients: [...clients, ws], settles })
  await Promise.all(clients.map(settles))
})

test('through an nginx that lets no WebSocket through stock clients poll, and go on as well', async t => {
  const hub = await startHub(t)
  const nginx = await startNginx(t, hub, plain(hub))
  const clients = Object.entries(CLIENTS).map(([name, open]) => Object.assign(connect(t, open, nginx.url, {}), { name }))
  const failed = new Set()
  for (const { name, socket } of clients) {
    // Each asks for the upgrade, each time that it comes.
    const watch = () => { socket.io.engine.on('upgradeError', () => failed.add(name)) }
    watch()
    socket.on('connect', watch)
  }
  await disturb({ t, hub, nginx, clients })
  await until('each to have failed to upgrade', () => failed.size === clients.length)
  assert.deepEqual([...new Set(clients.map(({ transport }) => transport()))], ['polling'])
  // It says so to who wants nothing else, and goes on saying so.
  const only = connect(t, latest, nginx.url, { ...options, transports: ['websocket'] })
  await until('it to be refused', () => only.refused > 1)
  assert.equal(only.connects.length, 0)
  assert.equal((await openSocket(t, `${nginx.url}/v1/ws`).ends()).status, 426)
})

test('behind nginx a page of its own origin opens both, and what it says arrives', async t => {
  const hub = await startHub(t)
  const nginx = await startNginx(t, hub)
  const page = await (await startChromium(t)).newPage()
  await page.goto(`${nginx.url}/health`)
  await page.addScriptTag({ path: new URL('./node_modules/socket.io-client/dist/socket.io.min.js', import.meta.url).pathname })
  await page.evaluate(() => {
    window.heard = { ws: [], io: [] }
    const ws = new WebSocket(`ws://${location.host}/v1/ws?topic=talk/*`, ['tidings.v1'])
    ws.onmessage = ({ data }) => {
      const message = JSON.parse(data)
      if (message.type === 'subscribed') window.heard.ws.push('on')
      if (message.type === 'event') window.heard.ws.push(message.data)
    }
    const socket = window.io({ auth: { topics: ['talk/*'] } })
    socket.on('tidings.open', () => window.heard.io.push('on'))
    socket.on('said', data => window.heard.io.push(data))
    window.say = () => {
      ws.send(JSON.stringify({ type: 'publish', event: { name: 'said', topic: 'talk/here', data: 'over ws' } }))
      return new Promise(done => socket.emit('publish', { event: { name: 'said', topic: 'talk/here', data: 'over io' } }, done))
    }
    window.upgraded = () => socket.io.engine.transport.name
  })
  const heard = () => page.evaluate(() => window.heard)
  await until('both to be on', async () => { const { ws, io } = await heard(); return ws.length && io.length })
  assert.equal((await page.evaluate(() => window.say())).type, 'published')
  await until('both to hear both', async () => { const { ws, io } = await heard(); return ws.length === 3 && io.length === 3 })
  const { ws, io } = await heard()
  assert.deepEqual(ws, io)
  assert.deepEqual(ws.toSorted(), ['on', 'over io', 'over ws'])
  await until('the upgrade', () => page.evaluate(() => window.upgraded() === 'websocket'))
})
