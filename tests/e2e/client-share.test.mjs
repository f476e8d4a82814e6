// One connection for all pages of a browser: the built client in Chromium, with pages and workers that die.
import { test } from 'node:test'
import assert from 'node:assert/strict'
import http from 'node:http'
import { once } from 'node:events'
import { access, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
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
  scope: query.has('token') ? 'u1' : undefined,
})
window.client = client
client.onConnection(connection => log.push(connection.status + ' ' + connection.sharing))
client.subscribe({ onEvent: event => told.push(event.data), onGap: gap => gaps.push(gap) })
</script>`

/** Requests that are answered when a test says so: a page that waits for one in a synchronous request stands still. */
const held = []
const holdOn = response => held.push(() => response.writeHead(200, { 'cache-control': 'no-store' }).end())

test.before(() => access(join(dist, 'worker.js')).catch(() => {
  throw new Error(`the client is not built: npm run build --workspace packages/client (looked in ${dist})`)
}))

/** A server of pages and the client, with the hub behind `/v1` of the same origin. */
async function startSite(t, hub, { headers = {}, missing } = {}) {
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
async function holds(hub, count) {
  let last
  await until(() => `the hub to hold ${count} streams, and not ${last}`, async () => {
    const response = await fetch(`${hub.url}/v1/streams`)
    assert.equal(response.status, 200)
    last = (await response.json()).streams.length
    return last === count
  })
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

const shares = (page, how) => until(`the page to be a ${how}`, async () => (await connection(page)).sharing === how)
const leads = page => shares(page, 'leader')
const follows = page => shares(page, 'follower')

async function openPages(context, site, count, query = '') {
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
    await holds(hub, 1)
    const { published, publish } = numbers(hub)
    await publish(5)
    await allHeard(pages, published)

    // The first tab that crashes is the one whose process has the worker, as far as Chromium lets one know.
    for (const death of ['crash', 'close', 'crash', 'close']) {
      const before = Date.now()
      const burst = publish(20)
      const dead = await holder(pages)
      await kill(dead, death)
      await burst
      await publish(3)
      pages = await living(pages)
      await allOpen(pages)
      await allHeard(pages, published)
      const { sharing } = await connection(pages[0])
      t.diagnostic(`${mode}, ${death}: all heard ${Date.now() - before} ms later, ${pages.length} pages, ${sharing}`)
      await holds(hub, 1)
    }
    const [late] = await openPages(context, site, 1, query)
    // A tab that comes later shares it too.
    await holds(hub, 1)
    await late.close()
    assert.ok(pages.length >= 2, `only ${pages.length} pages are left`)
    for (const page of pages) assert.deepEqual(await page.evaluate(() => window.errors.filter(error => !error.startsWith('sharing'))), [])
  })
}

/** The page that leads, or the first one where a worker holds the connection. While one takes over there is none. */
function holder(pages) {
  return until('somebody to hold the connection', async () => {
    const all = (await Promise.all(pages.map(connection))).map(({ sharing }) => sharing)
    return all.every(sharing => sharing === 'worker') ? pages[0] : pages[all.indexOf('leader')]
  })
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
    return Promise.race([answer, page.crashed])
  }))
  return pages.filter((_, at) => alive[at])
}

test('the death of the worker is noticed, and a leader goes on without loss', async t => {
  const hub = await startHub(t)
  const site = await startSite(t, hub)
  const browser = await startChromium(t)
  const pages = await openPages(await browser.newContext(), site, 5)
  const { published, publish } = numbers(hub)
  await publish(3)
  await allHeard(pages, published)
  const session = await browser.newBrowserCDPSession()
  const { targetInfos } = await session.send('Target.getTargets', { filter: [{ type: 'shared_worker' }] })
  assert.equal(targetInfos.length, 1)
  const burst = publish(20)
  const before = Date.now()
  await session.send('Target.closeTarget', { targetId: targetInfos[0].targetId })
  await Promise.all(pages.map(page => until('the page to leave the worker', async () => (await connection(page)).sharing !== 'worker')))
  t.diagnostic(`left the worker ${Date.now() - before} ms after its death`)
  await burst
  await publish(3)
  await allOpen(pages)
  await allHeard(pages, published)
  await holds(hub, 1)
  for (const page of pages) {
    const errors = await page.evaluate(() => window.errors)
    assert.equal(errors.length, 1)
    // By itself, or from another page that was told of it before.
    assert.match(errors[0], /^sharing: the shared worker (has died|is left)/)
  }
})

test('a page that wants its own connection has one, and so has each where nothing can be shared', async t => {
  const hub = await startHub(t)
  const site = await startSite(t, hub)
  const browser = await startChromium(t)
  const context = await browser.newContext()
  const pages = [
    ...await openPages(context, site, 1, '?share=none'),
    ...await openPages(context, site, 2, '?without=SharedWorker&withoutLocks'),
  ]
  await holds(hub, 3)
  const { published, publish } = numbers(hub)
  await publish(10)
  await allHeard(pages, published)
  for (const page of pages) {
    assert.equal((await connection(page)).sharing, 'none')
    assert.deepEqual(await page.evaluate(() => window.errors), [])
  }
})

for (const [what, options] of Object.entries({
  'a policy that forbids workers': { headers: { 'content-security-policy': "worker-src 'none'" } },
  'a script of the worker that is not found': { missing: '/worker.js' },
})) {
  test(`${what} makes one of the pages the leader, and is reported`, async t => {
    const hub = await startHub(t)
    const site = await startSite(t, hub, options)
    const browser = await startChromium(t)
    const context = await browser.newContext()
    // The first alone, so that it is the one that finds it out.
    const pages = [...await openPages(context, site, 1), ...await openPages(context, site, 2)]
    await until('one of them to lead', async () => {
      const all = (await Promise.all(pages.map(connection))).map(({ sharing }) => sharing)
      return all.sort().join() === 'follower,follower,leader'
    })
    await holds(hub, 1)
    const { published, publish } = numbers(hub)
    await publish(5)
    await allHeard(pages, published)
    const errors = await pages[0].evaluate(() => window.errors)
    assert.equal(errors.length, 1)
    assert.match(errors[0], /^sharing: the shared worker could not be started/)
    // The others find a leader, and try no worker.
    for (const page of pages.slice(1)) assert.deepEqual(await page.evaluate(() => window.errors), [])
  })
}

test('a page of an opaque origin has its own connection, and says why', async t => {
  const hub = await startHub(t)
  const site = await startSite(t, hub)
  const browser = await startChromium(t)
  const page = await browser.newPage()
  await page.goto(`${site}/opaque`)
  const frame = await until('the frame', () => page.frames()[1])
  await allOpen([frame])
  assert.equal((await connection(frame)).sharing, 'none')
  const errors = await frame.evaluate(() => window.errors)
  assert.ok(errors.length >= 1 && errors.every(error => error.startsWith('sharing: ')), errors.join('\n'))
  const { published, publish } = numbers(hub)
  await publish(5)
  await allHeard([frame], published)
})

test('pages whose storage is disabled have a connection, and say what they lack', async t => {
  const hub = await startHub(t)
  const site = await startSite(t, hub)
  const { context, close } = await startWithPreferences({ profile: { default_content_setting_values: { cookies: 2 } } })
  t.after(close)
  const pages = await openPages(context, site, 2)
  assert.equal(await pages[0].evaluate(() => { try { return String(localStorage) } catch (error) { return error.name } }), 'SecurityError')
  const { published, publish } = numbers(hub)
  await publish(5)
  await allHeard(pages, published)
  for (const page of pages) {
    t.diagnostic(`${(await connection(page)).sharing}: ${await page.evaluate(() => window.errors)}`)
    assert.equal(await page.evaluate(() => window.errors.every(error => error.startsWith('sharing: '))), true)
  }
})

test('a page that leads goes into the back/forward cache, another leads on, and back again it has missed nothing', async t => {
  const hub = await startHub(t)
  const site = await startSite(t, hub)
  const { context, close } = await startWithPreferences({}, ['--disable-back-forward-cache'])
  t.after(close)
  const pages = await openPages(context, site, 2, '?without=SharedWorker')
  const { published, publish } = numbers(hub)
  await publish(3)
  await allHeard(pages, published)
  const [first, second] = pages
  await leads(first)
  await first.evaluate(() => addEventListener('pageshow', event => { window.cached = event.persisted }))
  await first.goto(`${site}/elsewhere`)
  await leads(second)
  await publish(10)
  await allHeard([second], published)
  // A page out of the cache is not loaded again.
  await first.goBack({ waitUntil: 'commit' })
  await until('the page out of the cache', () => first.evaluate(() => window.cached))
  await publish(3)
  await allHeard(pages, published)
  await follows(first)
  await holds(hub, 1)
})

test('a leader that hangs is deposed by a page that is seen', async t => {
  const hub = await startHub(t)
  const site = await startSite(t, hub)
  const { context, close } = await startWithPreferences({}, [])
  t.after(close)
  const pages = await openPages(context, site, 2, '?without=SharedWorker')
  const { published, publish } = numbers(hub)
  await publish(3)
  await allHeard(pages, published)
  const [hung, other] = pages
  await leads(hung)
  const hanging = hung.evaluate(() => {
    const request = new XMLHttpRequest()
    request.open('GET', '/held', false)
    request.send()
  })
  await until('the page to stand still', () => held.length > 0)
  await leads(other)
  await publish(10)
  await allHeard([other], published)
  for (const release of held.splice(0)) release()
  await hanging
  await follows(hung)
  await publish(3)
  await allHeard(pages, published)
})

test('a tab that wants other topics hears them from the place on that it is told, and the others miss nothing meanwhile', async t => {
  const hub = await startHub(t)
  const site = await startSite(t, hub)
  const browser = await startChromium(t)
  const context = await browser.newContext()
  const [first] = await openPages(context, site, 1, '?topic=count/0')
  const { published, publish } = numbers(hub)
  let publishing = true
  const burst = (async () => { while (publishing) await publish(3) })()
  const [second] = await openPages(context, site, 1, '?topic=count/1')
  const { cursor } = await connection(second)
  publishing = false
  await burst
  // What was on its way may be before the second's place; this is behind it.
  await publish(3)
  const of = rest => published.filter(number => number % 3 === rest)
  await until('the first to hear all', async () => (await told(first)).length >= of(0).length)
  assert.deepEqual(await told(first), of(0))
  // The log of a new hub begins with the first number.
  const place = Number(cursor.split('-')[1])
  await until('the second to hear the last', async () => (await told(second)).at(-1) === of(1).at(-1))
  const heard = await told(second)
  assert.deepEqual(heard, of(1).slice(-heard.length))
  assert.deepEqual(of(1).filter(number => number > place && !heard.includes(number)), [])
  await holds(hub, 1)
})

test('whoever logs out logs out all pages, in whatever way they share', async t => {
  const hub = await startHub(t)
  const site = await startSite(t, hub)
  const browser = await startChromium(t)
  const context = await browser.newContext()
  const pages = [
    ...await openPages(context, site, 2),
    ...await openPages(context, site, 2, '?without=SharedWorker'),
    ...await openPages(context, site, 1, '?without=SharedWorker&withoutLocks'),
  ]
  await holds(hub, 3)
  await pages[1].evaluate(() => window.client.logout())
  for (const page of pages) await until('the page to be closed', async () => (await connection(page)).status === 'closed')
  await holds(hub, 0)
})

/** A browser with settings of its own. */
async function startWithPreferences(preferences, ignoreDefaultArgs = [], more = []) {
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
