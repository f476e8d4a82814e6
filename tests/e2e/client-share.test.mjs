// One connection for all pages of a browser: the built client in Chromium, with pages and workers that die.
import { test } from 'node:test'
import assert from 'node:assert/strict'
import http from 'node:http'
import { once } from 'node:events'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { chromium } from 'playwright-core'
import { root, startHub } from './harness/hub.mjs'
import { startChromium } from './harness/chromium.mjs'
import { until } from './harness/wait.mjs'

const dist = process.env.TIDINGS_CLIENT_DIST ?? join(root, 'packages/client/dist')
const TABS = 20

const PAGE = `<!doctype html><meta charset="utf-8"><title>share</title><script type="module">
import { createClient } from '/dist/index.js'
const query = new URLSearchParams(location.search)
for (const name of query.getAll('without')) delete window[name]
if (query.has('withoutLocks')) Object.defineProperty(navigator, 'locks', { value: undefined })
window.told = []
window.errors = []
window.gaps = []
window.log = []
window.loggedOut = 0
const client = createClient({
  topics: query.has('topic') ? query.getAll('topic') : undefined,
  share: query.get('share') ?? 'auto',
  onError: error => errors.push(error.code + ': ' + error.message),
  token: query.has('token') ? () => { window.asked = (window.asked ?? 0) + 1; return query.get('token') } : undefined,
})
window.client = client
client.onConnection(connection => log.push(connection.status + ' ' + connection.sharing))
client.subscribe({ onEvent: event => told.push(event.data), onGap: gap => gaps.push(gap) })
</script>`

/** A server of pages and the client, with the hub behind `/v1` of the same origin. */
async function startSite(t, hub, { headers = {}, missing } = {}) {
  const server = http.createServer(async (request, response) => {
    const { pathname } = new URL(request.url, 'http://site')
    if (pathname.startsWith('/v1/')) return forward(hub, request, response)
    const open = { 'access-control-allow-origin': '*', ...headers }
    if (pathname === '/') return response.writeHead(200, { 'content-type': 'text/html', ...open }).end(PAGE)
    if (pathname === '/elsewhere') return response.writeHead(200, { 'content-type': 'text/html' }).end('<title>elsewhere</title>')
    if (pathname === '/opaque') return response.writeHead(200, { 'content-type': 'text/html' }).end('<iframe sandbox="allow-scripts" src="/"></iframe>')
    if (!pathname.startsWith('/dist/') || pathname.endsWith(missing ?? '\0')) return response.writeHead(404).end()
    try {
      response.writeHead(200, { 'content-type': 'text/javascript', ...open }).end(await readFile(join(dist, pathname.slice('/dist/'.length))))
    } catch {
      response.writeHead(404).end()
    }
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => { server.closeAllConnections(); server.close() })
  return `http://127.0.0.1:${server.address().port}`
}

function forward(hub, request, response) {
  const headers = { ...request.headers, host: `127.0.0.1:${hub.port}` }
  // A sandboxed page has no origin, and reads only what is for everybody.
  delete headers.origin
  const upstream = http.request({ port: hub.port, host: '127.0.0.1', path: request.url, method: request.method, headers }, answer => {
    response.writeHead(answer.statusCode, { ...answer.headers, 'access-control-allow-origin': '*' })
    answer.pipe(response)
  })
  for (const gone of [upstream, response]) gone.on('error', () => response.destroy())
  response.on('close', () => upstream.destroy())
  request.pipe(upstream)
}

/** Live streams at the hub, this question not counted. */
async function streams(hub) {
  const response = await fetch(`${hub.url}/v1/streams`)
  assert.equal(response.status, 200)
  return (await response.json()).streams
}

const connection = page => page.evaluate(() => window.client && { ...window.client.connection, cursor: window.client.connection.cursor })
const told = page => page.evaluate(() => window.told)

/** All pages have an open connection. */
async function allOpen(pages) {
  await Promise.all(pages.map((page, at) => until(`page ${at} to be open`, async () => {
    const { status, cursor } = (await connection(page)) ?? {}
    return status === 'open' && cursor !== undefined
  })))
}

async function openPages(context, site, count, query = '') {
  const pages = []
  for (let number = 0; number < count; number++) {
    const page = await context.newPage()
    await page.goto(`${site}/${query}`)
    pages.push(page)
  }
  await allOpen(pages)
  return pages
}

/** Publishes numbers, and remembers them. */
function numbers(hub) {
  const published = []
  return {
    published,
    async publish(count) {
      const events = []
      for (let number = 0; number < count; number++) {
        published.push(published.length + 1)
        events.push({ name: 'counted', topic: `count/${published.length % 3}`, data: published.length })
      }
      await hub.publish(events)
    },
  }
}

/** Every page has heard everything, once, in order. */
async function allHeard(pages, published) {
  for (const [at, page] of pages.entries()) {
    await until(
      async () => `page ${at} to hear ${published.length} events`,
      async () => (await page.evaluate(() => window.told.length)) >= published.length,
    )
    assert.deepEqual(await told(page), published, `page ${at}`)
    assert.deepEqual(await page.evaluate(() => window.gaps), [], `page ${at}: gaps`)
  }
}

const modes = {
  worker: { query: '', shared: ['worker'] },
  leader: { query: '?without=SharedWorker', shared: ['leader', 'follower'] },
}

for (const [mode, { query, shared }] of Object.entries(modes)) {
  test(`${TABS} tabs hold one connection, and hear every event once while holders are closed and crash (${mode})`, async t => {
    const hub = await startHub(t)
    const site = await startSite(t, hub)
    const browser = await startChromium(t)
    const context = await browser.newContext()
    let pages = await openPages(context, site, TABS, query)
    for (const page of pages) assert.ok(shared.includes((await connection(page)).sharing))
    assert.equal((await streams(hub)).length, 1)
    const { published, publish } = numbers(hub)
    await publish(5)
    await allHeard(pages, published)

    for (const death of ['close', 'crash', 'close', 'crash']) {
      const before = Date.now()
      const burst = publish(20)
      const dead = mode === 'leader' ? await holder(pages) : pages[0]
      await kill(dead, death)
      await burst
      await publish(3)
      pages = await living(pages)
      await allOpen(pages)
      await allHeard(pages, published)
      t.diagnostic(`${mode}, ${death}: all heard ${Date.now() - before} ms later, ${pages.length} pages`)
      assert.equal((await streams(hub)).length, 1)
    }
    assert.ok(pages.length >= 2, `only ${pages.length} pages are left`)
    for (const page of pages) assert.deepEqual(await page.evaluate(() => window.errors.filter(error => !error.startsWith('sharing'))), [])
  })
}

async function holder(pages) {
  for (const page of pages) if ((await connection(page)).sharing === 'leader') return page
  throw new Error('no page leads')
}

/** Closes a tab, or ends its process. */
async function kill(page, how) {
  if (how === 'close') return page.close()
  const crashed = page.waitForEvent('crash')
  const session = await page.context().newCDPSession(page)
  session.send('Page.crash').catch(() => {})
  await crashed
}

/** Those that are left: one process has several tabs of a site, and takes them with it. */
async function living(pages) {
  const alive = await Promise.all(pages.map(async page => {
    if (page.isClosed()) return false
    const answer = page.evaluate(() => 1).then(() => true, () => false)
    return Promise.race([answer, new Promise(resolve => { setTimeout(resolve, 2_000, false) })])
  }))
  return pages.filter((_, at) => alive[at])
}
