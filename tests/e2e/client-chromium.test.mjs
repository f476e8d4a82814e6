// The client, as it is built, in Chromium: behind proxies that buffer, block, lie and refuse.
import { test } from 'node:test'
import assert from 'node:assert/strict'
import http from 'node:http'
import net from 'node:net'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { join, normalize } from 'node:path'
import { root, startHub } from './harness/hub.mjs'
import { startChromium } from './harness/chromium.mjs'
import { Counter, Ledger } from './harness/count.mjs'
import { until } from './harness/wait.mjs'

const DIST = join(root, 'packages/client/dist')
const PAGE = `<!doctype html><meta charset="utf-8"><title>client</title><script type="module">
  import { createClient } from '/client/index.js'
  window.createClient = createClient
</script>`

/**
 * One origin for the page, the client and the hub. What is between may be told how to behave: `stream(request, response)` answers
 * streams itself if it returns true; `buffers` holds back the bytes of streams; `blocks` breaks off WebSockets.
 */
async function startFront(t, hub) {
  const front = { buffers: false, blocks: false, stream: () => false, streams: 0, heads: [] }
  const open = new Set()
  const server = http.createServer(async (request, response) => {
    const { pathname } = new URL(request.url, 'http://front')
    if (pathname === '/') return response.writeHead(200, { 'content-type': 'text/html' }).end(PAGE)
    if (pathname.startsWith('/client/')) {
      const script = await readFile(join(DIST, normalize(pathname.slice('/client'.length)))).catch(() => undefined)
      return response.writeHead(script ? 200 : 404, { 'content-type': 'text/javascript' }).end(script)
    }
    const isStream = pathname === '/v1/events'
    if (isStream) {
      front.streams++
      front.heads.push(request.headers)
      open.add(response)
      response.on('close', () => open.delete(response))
      if (front.stream(request, response)) return
    }
    const { url, method, headers } = request
    const upstream = http.request({ port: hub.port, host: '127.0.0.1', path: url, method, headers }, answer => {
      response.writeHead(answer.statusCode, answer.headers)
      response.flushHeaders()
      if (isStream && front.buffers) answer.resume()
      else answer.pipe(response)
      answer.on('error', () => response.destroy())
    })
    upstream.on('error', () => response.destroy())
    response.on('close', () => upstream.destroy())
    request.pipe(upstream)
  })
  server.on('upgrade', (request, socket, head) => {
    if (front.blocks) return socket.end('HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n')
    const upstream = net.connect(hub.port, '127.0.0.1')
    const lines = [`${request.method} ${request.url} HTTP/1.1`]
    for (let at = 0; at < request.rawHeaders.length; at += 2) lines.push(`${request.rawHeaders[at]}: ${request.rawHeaders[at + 1]}`)
    upstream.write(`${lines.join('\r\n')}\r\n\r\n`)
    upstream.write(head)
    upstream.pipe(socket).pipe(upstream)
    for (const [one, other] of [[socket, upstream], [upstream, socket]]) {
      one.on('error', () => {})
      one.on('close', () => other.destroy())
    }
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => { server.closeAllConnections(); server.close() })
  front.url = `http://127.0.0.1:${server.address().port}`
  front.open = () => open.size
  front.cut = () => { for (const response of open) response.destroy() }
  return front
}

/** A page with a client that counts. `options` are the client's, as JSON; `setup` may add to them in the page. */
async function openPage(t, front, options = {}) {
  const browser = await startChromium(t)
  const page = await browser.newPage()
  await page.goto(front.url)
  await page.waitForFunction(() => window.createClient)
  await page.evaluate(options => {
    window.numbers = []
    window.errors = []
    window.tokens = 0
    const { provider, ...rest } = options
    window.client = window.createClient({
      share: 'none',
      backoff: { base: 100 },
      onError: ({ code, message }) => window.errors.push({ code, message }),
      ...(provider && { token: () => `tdg_${++window.tokens}` }),
      ...rest,
    })
    window.client.subscribe({ topics: ['count/*'], onEvent: ({ data }) => window.numbers.push(data.n) })
  }, options)
  return {
    page,
    ledger: new Ledger(() => page.evaluate(() => window.numbers)),
    errors: () => page.evaluate(() => window.errors),
    connection: () => page.evaluate(() => ({ ...window.client.connection, error: window.client.connection.error?.code })),
  }
}

/** Numbers come, each once, over this transport. */
async function assertCounts(t, hub, { ledger, connection }, transport) {
  const counter = new Counter(hub)
  t.after(() => counter.abandon())
  await ledger.grows(20)
  await ledger.reaches(await counter.stop())
  ledger.assertUnbroken()
  const { status, transport: used } = await connection()
  assert.deepEqual({ status, used }, { status: 'open', used: transport })
}

/** What was reported, once it is this much: what a proxy has to be set to is loaded before it is told. */
const reported = (tab, count) => until(`${count} errors`, async () => {
  const errors = await tab.errors()
  return errors.length >= count && errors
})

const isOpen = ({ connection }) => until('an open connection', async () => (await connection()).status === 'open')

test('in Chromium the client streams, and heals a cut without loss', async t => {
  const hub = await startHub(t)
  const front = await startFront(t, hub)
  const tab = await openPage(t, front)
  await isOpen(tab)
  const counter = new Counter(hub)
  t.after(() => counter.abandon())
  await tab.ledger.grows(20)
  front.cut()
  await tab.ledger.grows(20)
  await tab.ledger.reaches(await counter.stop())
  tab.ledger.assertUnbroken()
  assert.match(front.heads.at(-1)['last-event-id'], /^[0-9a-f]{8}-\d+$/)
  assert.deepEqual((await tab.errors()).map(({ code }) => code), ['network'])
})

test('in Chromium a proxy that buffers makes way for a WebSocket, and the error says what to set', async t => {
  const hub = await startHub(t)
  const front = await startFront(t, hub)
  front.buffers = true
  const tab = await openPage(t, front)
  await isOpen(tab)
  await assertCounts(t, hub, tab, 'websocket')
  const [{ code, message }] = await reported(tab, 1)
  assert.equal(code, 'proxy')
  assert.match(message, /proxy_buffering off/)
  await until('the stream that was held back to be given up', () => front.open() === 0)
})

test('in Chromium a proxy that buffers and lets no WebSocket through makes way for polls', async t => {
  const hub = await startHub(t)
  const front = await startFront(t, hub)
  front.buffers = true
  front.blocks = true
  const tab = await openPage(t, front)
  await isOpen(tab)
  await assertCounts(t, hub, tab, 'poll')
  const codes = (await reported(tab, 3)).map(({ code }) => code)
  // The first may be told after the second, which needs no words to be loaded.
  assert.deepEqual(codes.sort(), ['network', 'proxy', 'proxy'])
})

test('in Chromium a login form in place of a stream makes way for a WebSocket', async t => {
  const hub = await startHub(t)
  const front = await startFront(t, hub)
  front.stream = (_, response) => {
    response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' }).end('<form>')
    return true
  }
  const tab = await openPage(t, front)
  await isOpen(tab)
  await assertCounts(t, hub, tab, 'websocket')
  assert.deepEqual((await tab.errors()).map(({ code }) => code), ['content-type'])
})

test('in Chromium frames that break the protocol make way for a WebSocket', async t => {
  const hub = await startHub(t)
  const front = await startFront(t, hub)
  front.stream = (_, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' }).write('event: tidings.gap\ndata: {"resumed":\n\n')
    return true
  }
  const tab = await openPage(t, front)
  await isOpen(tab)
  await assertCounts(t, hub, tab, 'websocket')
  assert.deepEqual((await tab.errors()).map(({ code }) => code), ['protocol'])
})

test('in Chromium a 401 in mid-life asks for another credential, and nothing is lost', async t => {
  const hub = await startHub(t)
  const front = await startFront(t, hub)
  let refusals = 0
  front.stream = ({ headers }, response) => {
    // The first credential is good for the first stream alone. The hub itself lets everybody in.
    const over = front.streams > 1 && headers.authorization === 'Bearer tdg_1'
    delete headers.authorization
    if (over) {
      refusals++
      response.writeHead(401, { 'content-type': 'application/problem+json' }).end('{"status":401,"detail":"the key has expired"}')
    }
    return over
  }
  const tab = await openPage(t, front, { provider: true })
  await isOpen(tab)
  const counter = new Counter(hub)
  t.after(() => counter.abandon())
  await tab.ledger.grows(10)
  front.cut()
  await tab.ledger.grows(10)
  await tab.ledger.reaches(await counter.stop())
  tab.ledger.assertUnbroken()
  assert.equal(refusals, 1)
  assert.equal(await tab.page.evaluate(() => window.tokens), 2)
  const errors = await tab.errors()
  assert.deepEqual(errors.map(({ code }) => code), ['network', 'unauthorized'])
  assert.match(errors[1].message, /the key has expired/)
})

test('in Chromium nothing is left of a client that was closed', async t => {
  const hub = await startHub(t)
  const front = await startFront(t, hub)
  const tab = await openPage(t, front)
  await isOpen(tab)
  assert.equal(front.open(), 1)
  await tab.page.evaluate(() => window.client.close())
  await until('the stream to end', () => front.open() === 0)
  assert.equal((await tab.connection()).status, 'closed')
  // Longer than it would wait before it came back, by the same clock; and what it asked for then is here before this question.
  await tab.page.evaluate(() => new Promise(done => setTimeout(done, 1_000)).then(() => fetch('/')))
  assert.equal(front.streams, 1)
})
