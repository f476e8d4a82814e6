// A React page as an app would have it, built by Vite from the built packages, in Chromium, against the hub.
import { test } from 'node:test'
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import http from 'node:http'
import net from 'node:net'
import { once } from 'node:events'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { extname, join } from 'node:path'
import { promisify } from 'node:util'
import { build } from 'vite'
import { root, startHub } from './harness/hub.mjs'
import { startChromium } from './harness/chromium.mjs'
import { startProxy } from './harness/proxy.mjs'
import { watchRequests } from './harness/quiet.mjs'
import { until } from './harness/wait.mjs'

const fixture = join(root, 'tests/e2e/fixtures/react-app')
const types = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css' }

/** The app: its page, its books, and the hub behind the same origin. Each change is told once it is made. */
async function startApp(t, hub) {
  const pages = await mkdtemp(join(tmpdir(), 'tidings-react-page-'))
  t.after(() => rm(pages, { recursive: true, force: true }))
  await build({ root: fixture, logLevel: 'silent', build: { outDir: pages, emptyOutDir: true } })
  const books = new Map([[1, { id: 1, title: 'Emma' }], [2, { id: 2, title: 'Persuasion' }]])
  const app = { color: 'oak', asked: [], books }
  const api = path => {
    app.asked.push(path)
    if (path === '/api/books') return [...books.values()].sort((a, b) => a.id - b.id)
    if (path === '/api/color') return app.color
    return books.get(Number(path.slice('/api/books/'.length)))
  }
  const server = http.createServer(async (request, response) => {
    const { pathname } = new URL(request.url, 'http://app')
    if (pathname.startsWith('/v1/')) {
      const { method, headers, url } = request
      const upstream = http.request(hub.url + url, { method, headers }, answer => {
        response.writeHead(answer.statusCode, answer.headers)
        answer.pipe(response)
        answer.on('error', () => response.destroy())
      })
      upstream.on('error', () => { if (response.headersSent) response.destroy(); else response.writeHead(502).end() })
      response.on('close', () => upstream.destroy())
      request.pipe(upstream)
      return
    }
    if (pathname.startsWith('/api/')) {
      response.writeHead(200, { 'content-type': 'application/json', 'cache-control': 'no-store' }).end(JSON.stringify(api(pathname)))
      return
    }
    const file = await readFile(join(pages, pathname === '/' ? 'index.html' : pathname)).catch(() => undefined)
    if (file === undefined) response.writeHead(404).end()
    else response.writeHead(200, { 'content-type': types[extname(pathname)] ?? 'text/html' }).end(file)
  })
  server.on('upgrade', (request, socket, head) => {
    const upstream = net.connect(hub.port, '127.0.0.1')
    for (const [one, other] of [[socket, upstream], [upstream, socket]]) {
      one.on('error', () => {})
      one.on('close', () => other.destroy())
      one.pipe(other)
    }
    const lines = request.rawHeaders.map((part, index) => part + (index % 2 === 0 ? ': ' : '\r\n'))
    upstream.write(`GET ${request.url} HTTP/1.1\r\n${lines.join('')}\r\n`)
    upstream.write(head)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => { server.closeAllConnections(); server.close() })
  return Object.assign(app, {
    port: server.address().port,
    put: (...changed) => {
      for (const book of changed) books.set(book.id, book)
      return hub.publish(changed.map(data => ({ name: 'book.put', topic: `book/${data.id}`, data })))
    },
    drop: id => {
      books.delete(id)
      return hub.publish([{ name: 'book.gone', topic: `book/${id}`, data: { id } }])
    },
    paint: color => {
      app.color = color
      return hub.publish([{ name: 'shelf.painted', topic: 'shelf', data: { color } }])
    },
  })
}

async function openPage(t) {
  const hub = await startHub(t)
  const app = await startApp(t, hub)
  const proxy = await startProxy(t, app)
  const browser = await startChromium(t)
  const page = await browser.newPage()
  const errors = []
  page.on('pageerror', error => errors.push(error.message))
  const { quiet } = watchRequests(page.context())
  await page.goto(proxy.url)
  await page.locator('main[data-status=open]').waitFor()
  await page.evaluate(() => { window.sameDocument = true })
  const titles = () => page.locator('li').allTextContents()
  /** Until the page shows what the app has. */
  const agrees = async () => {
    const wanted = [...app.books.values()].sort((a, b) => a.id - b.id).map(book => book.title)
    let shown = []
    await until(() => `the page to show ${wanted.length} books; it shows ${shown.length}: ${shown.slice(0, 9)}`, async () => {
      shown = await titles()
      return shown.join('\n') === wanted.join('\n')
    })
    await page.locator('h1', { hasText: app.books.get(1).title }).waitFor()
    await page.locator('output', { hasText: app.color }).waitFor()
  }
  await agrees()
  return { hub, app, proxy, page, errors, agrees, quiet: () => quiet(page) }
}

test('the types of the fixture are right, and wrong names are refused, by what an app registers', async () => {
  const compiler = join(root, 'node_modules/typescript/bin/tsc')
  await promisify(execFile)(process.execPath, [compiler, '--noEmit', '-p', fixture]).catch(error => assert.fail(error.stdout))
})

test('a React page shows each change, and fetches nothing for those that say it all', async t => {
  const { app, page, errors, agrees, quiet } = await openPage(t)
  // What is fetched again at the beginning is fetched by then.
  await app.paint('teal')
  await agrees()
  await quiet()
  app.asked.length = 0
  await app.put({ id: 1, title: 'Emma, again' }, { id: 3, title: 'Sanditon' })
  await app.drop(2)
  await agrees()
  await quiet()
  assert.deepEqual(app.asked.filter(path => path !== '/api/color'), [])
  await app.paint('red')
  await agrees()
  await page.locator('main[data-puts="2"] p', { hasText: 'SANDITON' }).waitFor()
  assert.deepEqual(errors, [])
})

// So many cuts in a row make the client take the proxy for a bad one, and go on by WebSocket. That loses nothing either.
test('cuts and kills -9 of the hub lose nothing and need no reload', async t => {
  const { hub, app, proxy, page, errors, agrees } = await openPage(t)
  let puts = 0
  for (let round = 0; round < 3; round += 1) {
    proxy.cut()
    const changed = Array.from({ length: 20 }, (_, index) => ({ id: 10 + index, title: `${round}.${index}` }))
    await app.put(...changed)
    puts += changed.length
    await app.drop(10 + round)
    await app.paint(`cut ${round}`)
    await agrees()
    await hub.crash()
    await app.put({ id: 1, title: `after crash ${round}` })
    puts += 1
    await app.paint(`crash ${round}`)
    await agrees()
  }
  await page.locator(`main[data-puts="${puts}"]`).waitFor()
  assert.equal(await page.evaluate(() => window.sameDocument), true)
  assert.deepEqual(errors, [])
})

test('a burst of 10,000 events is drawn once for each batch', async t => {
  const { app, page, agrees } = await openPage(t)
  const before = await page.evaluate(() => {
    window.longest = 0
    let last = performance.now()
    const frame = now => {
      window.longest = Math.max(window.longest, now - last)
      last = now
      requestAnimationFrame(frame)
    }
    requestAnimationFrame(frame)
    return { renders: window.renders, batches: window.batches ?? 0 }
  })
  for (let from = 0; from < 10_000; from += 1_000) {
    await app.put(...Array.from({ length: 1_000 }, (_, index) => ({ id: 1 + (index % 100), title: `${from + index}` })))
  }
  await agrees()
  await page.locator('main[data-puts="10000"]').waitFor()
  const after = await page.evaluate(() => ({ renders: window.renders, batches: window.batches, longest: window.longest }))
  const [renders, batches] = [after.renders - before.renders, after.batches - before.batches]
  t.diagnostic(`${renders} renderings of ${batches} batches; the longest frame took ${Math.round(after.longest)} ms`)
  // How many batches there are is for the sockets to say. The query and the count of one may be drawn one after the other.
  assert.ok(renders <= 2 * batches + 10, `${renders} renderings of ${batches} batches`)
})
