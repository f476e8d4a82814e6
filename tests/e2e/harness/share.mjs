// A site whose pages share one connection to a hub: the built client in Chromium, and what a test asks of its pages.
import assert from 'node:assert/strict'
import http from 'node:http'
import { once } from 'node:events'
import { access, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { chromium } from 'playwright-core'
import { root } from './hub.mjs'
import { until } from './wait.mjs'

const dist = process.env.TIDINGS_CLIENT_DIST ?? join(root, 'packages/client/dist')

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
  scope: query.has('token') ? 'u1' : undefined,
})
window.client = client
client.onConnection(connection => log.push(connection.status + ' ' + connection.sharing))
client.subscribe({ onEvent: event => told.push(event.data), onGap: gap => gaps.push(gap) })
</script>`

/** Requests that are answered when a test says so: a page that waits for one in a synchronous request stands still. */
export const held = []
const holdOn = response => held.push(() => response.writeHead(200, { 'cache-control': 'no-store' }).end())

/** A server of pages and the client, with the hub behind `/v1` of the same origin. */
export async function startSite(t, hub, { headers = {}, missing } = {}) {
  await access(join(dist, 'worker.js')).catch(() => {
    throw new Error(`the client is not built: npm run build --workspace packages/client (looked in ${dist})`)
  })
  const server = http.createServer(async (request, response) => {
    const { pathname } = new URL(request.url, 'http://site')
    if (pathname.startsWith('/v1/')) return forward(hub, request, response)
    const open = { 'access-control-allow-origin': '*', ...headers }
    if (pathname === '/') return response.writeHead(200, { 'content-type': 'text/html', ...open }).end(PAGE)
    if (pathname === '/held') return holdOn(response)
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

/** The hub has so many live streams: those of pages that have died are seen to be gone a moment after others have taken over. */
export async function holds(hub, count) {
  let last
  await until(() => `the hub to hold ${count} streams, and not ${last}`, async () => {
    const response = await fetch(`${hub.url}/v1/streams`)
    assert.equal(response.status, 200)
    last = (await response.json()).streams.length
    return last === count
  })
}

export const connection = page => page.evaluate(() => window.client && { ...window.client.connection, cursor: window.client.connection.cursor })
export const told = page => page.evaluate(() => window.told)

/** All pages have an open connection. */
export async function allOpen(pages) {
  await Promise.all(pages.map((page, at) => until(`page ${at} to be open`, async () => {
    const { status, cursor } = (await connection(page)) ?? {}
    return status === 'open' && cursor !== undefined
  })))
}

const shares = (page, how) => until(`the page to be a ${how}`, async () => (await connection(page)).sharing === how)
export const leads = page => shares(page, 'leader')
export const follows = page => shares(page, 'follower')

export async function openPages(context, site, count, query = '') {
  const pages = []
  for (let number = 0; number < count; number++) {
    const page = await context.newPage()
    page.crashed = new Promise(resolve => { page.once('crash', () => resolve(false)) })
    await page.goto(`${site}/${query}`)
    pages.push(page)
  }
  await allOpen(pages)
  return pages
}

/** Publishes numbers, and remembers them. */
export function numbers(hub) {
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
export async function allHeard(pages, published) {
  for (const [at, page] of pages.entries()) {
    await until(
      async () => `page ${at} to hear ${published.length} events`,
      async () => (await page.evaluate(() => window.told.length)) >= published.length,
    )
    assert.deepEqual(await told(page), published, `page ${at}`)
    assert.deepEqual(await page.evaluate(() => window.gaps), [], `page ${at}: gaps`)
  }
}

/** A browser with settings of its own. */
export async function startWithPreferences(preferences, ignoreDefaultArgs = [], more = []) {
  const home = await mkdtemp(join(tmpdir(), 'tidings-chromium-'))
  await mkdir(join(home, 'Default'))
  await writeFile(join(home, 'Default', 'Preferences'), JSON.stringify(preferences))
  const context = await chromium.launchPersistentContext(home, {
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    headless: true,
    args: ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking', ...more],
    ignoreDefaultArgs,
  })
  context.setDefaultTimeout(60_000)
  const close = async () => {
    await context.close()
    await rm(home, { recursive: true, force: true })
  }
  return { context, close }
}
