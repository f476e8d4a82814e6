// One import, watched in three ways at once while the hub and its worker are killed: all are told the same end, once.
import { test } from 'node:test'
import assert from 'node:assert/strict'
import { once } from 'node:events'
import net from 'node:net'
import { pipeline } from 'node:stream'
import { setTimeout as wait } from 'node:timers/promises'
import { io } from 'socket.io-client'
import { ask, form, startBooks } from './harness/jobs.mjs'
import { startChromium } from './harness/chromium.mjs'
import { startWorker } from './harness/worker.mjs'
import { until } from './harness/wait.mjs'

const ROWS = 100_000
const ENDS = ['completed', 'failed', 'canceled']

/** A list as a shelf app exports it. */
function list(rows) {
  const lines = Array.from({ length: rows }, (_, n) => `"Book ${n}, the title","Author ${n % 500}",${n % 6},shelf-${n % 7},2024/01/0${1 + n % 9}`)
  return `Title,Author,My Rating,Bookshelves,Date Added\n${lines.join('\n')}\n`
}

/** A way to the hub on which each connection takes half a minute for the books of a list: whoever works by it is not done soon. */
async function startSlowWay(t, hub) {
  async function * slowly(pieces) {
    for await (const piece of pieces) {
      for (let at = 0; at < piece.length; at += 16 << 10) {
        yield piece.subarray(at, at + (16 << 10))
        await wait(50)
      }
    }
  }
  const sockets = new Set()
  const server = net.createServer(worker => {
    const upstream = net.connect(hub.port, '127.0.0.1')
    const end = () => { for (const socket of [worker, upstream]) { socket.destroy(); sockets.delete(socket) } }
    sockets.add(worker).add(upstream)
    pipeline(worker, slowly, upstream, end)
    pipeline(upstream, worker, end)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => { server.close(); for (const socket of sockets) socket.destroy() })
  return { url: `http://127.0.0.1:${server.address().port}` }
}

/** An EventSource in Chromium, on a page of the hub's own. */
async function byBrowser(t, hub, sseUrl) {
  const browser = await startChromium(t)
  const page = await browser.newPage()
  await page.goto(`${hub.url}/health`)
  const heard = []
  await page.exposeFunction('heard', (name, data) => heard.push([name, JSON.parse(data)]))
  await page.evaluate(url => {
    const source = new EventSource(url)
    for (const name of ['progress', 'completed', 'failed', 'canceled', 'timeout']) source.addEventListener(name, event => window.heard(name, event.data))
    // As the app's page does.
    for (const name of ['completed', 'failed', 'canceled']) source.addEventListener(name, () => source.close())
  }, sseUrl)
  return { heard, ...told(heard) }
}

/** A stock Socket.IO client, let in by the job's token. */
function bySocketIo(t, hub, jobId, token) {
  const socket = io(hub.url, { forceNew: true, auth: { token, topics: [`bookstrack/job/${jobId}`] }, reconnectionDelay: 50, reconnectionDelayMax: 200 })
  t.after(() => socket.close())
  const heard = []
  socket.onAny((name, data) => { if (!name.startsWith('tidings.')) heard.push([name, data]) })
  return { heard, ...told(heard) }
}

/** What was told to somebody who is told of events: how far it is, and of which ends. */
function told(heard) {
  return {
    done: () => Math.max(0, ...heard.map(([, { processedCount }]) => processedCount)),
    ends: () => heard.filter(([name]) => ENDS.includes(name)).map(([name, { processedCount, totalCount, summary }]) => ({ name, processedCount, totalCount, summary })),
  }
}

/** Somebody who asks now and then, as the document's fallback does; and again when nobody answers. */
function byAsking(t, hub, jobId) {
  const heard = []
  let timer
  const asks = async () => {
    const answer = await ask(`${hub.url}/api/v2/imports/${jobId}`).catch(() => undefined)
    if (answer) {
      assert.equal(answer.status, 200, answer.text)
      heard.push(answer.body.data)
      if (ENDS.includes(answer.body.data.status)) return
    }
    // An address may ask 30 times a minute.
    timer = setTimeout(asks, 3_000)
  }
  const asking = asks()
  t.after(async () => { clearTimeout(timer); await asking })
  return {
    heard,
    done: () => Math.max(0, ...heard.map(({ processedCount }) => processedCount)),
    ends: () => heard.filter(({ status }) => ENDS.includes(status)).map(({ status: name, processedCount, totalCount, summary }) => ({ name, processedCount, totalCount, summary })),
  }
}

test('an import watched by a browser, a Socket.IO client and a poller ends the same for each, once, though hub and worker are killed on the way', async t => {
  const hub = await startBooks(t, { values: { retry: '200ms' } })
  const made = await ask(`${hub.url}/api/v2/imports`, { body: form(list(ROWS)) })
  const { jobId, sseUrl, authToken } = made.body.data
  const watchers = { browser: await byBrowser(t, hub, sseUrl), socketIo: bySocketIo(t, hub, jobId, authToken), poller: byAsking(t, hub, jobId) }
  const all = Object.values(watchers)
  const said = () => JSON.stringify(Object.fromEntries(Object.entries(watchers).map(([name, watcher]) => [name, watcher.done()])))
  const hears = more => until(() => `more than ${more}; heard were ${said()}`, () => all.some(watcher => watcher.done() > more))
  await until(() => `each to be told that it waits; ${Object.entries(watchers).map(([name, { heard }]) => `${name}: ${heard.length}`)}`, () => all.every(({ heard }) => heard.length))

  const first = startWorker(t, await startSlowWay(t, hub), { more: ['--lease', '10'] })
  await hears(ROWS / 50)
  await hub.crash()
  const before = Math.max(...all.map(watcher => watcher.done()))
  await hears(before + ROWS / 50)
  await first.kill()
  assert.ok(all.every(watcher => watcher.ends().length === 0), 'it was killed on the way, and not after it')
  startWorker(t, hub, { more: ['--lease', '10', '--name', 'another'] })
  await until(() => `each to be told the end; heard were ${said()}`, () => all.every(watcher => watcher.ends().length), 180_000)

  const [end] = watchers.browser.ends()
  assert.deepEqual([end.name, end.processedCount, end.totalCount, end.summary.imported], ['completed', ROWS, ROWS, ROWS])
  for (const [name, watcher] of Object.entries(watchers)) assert.deepEqual(watcher.ends(), [end], name)
  const { attempt } = (await ask(`${hub.url}/v1/jobs/${jobId}`, { token: authToken })).body
  assert.equal(attempt, 2, 'the second worker took it up')
  // The end has as many of the books as it can hold; the result has all.
  const { books } = watchers.browser.heard.at(-1)[1]
  assert.ok(books.length > 1_000 && books.length < ROWS, `${books.length} books`)
  assert.deepEqual(books.map(({ title }) => title), books.map((_, n) => `Book ${n}, the title`))
  const result = await ask(`${hub.url}/v3/jobs/imports/${jobId}/results?from=${ROWS - 1}`, { token: authToken })
  assert.deepEqual([result.body.data.total, result.body.data.results[0].title], [ROWS, `Book ${ROWS - 1}, the title`])
  assert.equal((await ask(`${hub.url}/v3/jobs/imports/${jobId}`, { token: authToken })).body.data.status, 'completed')
})

test('a file that is no list fails its import with a sentence that says what to do', async t => {
  const hub = await startBooks(t)
  const { sseUrl } = (await ask(`${hub.url}/api/v2/imports`, { body: form('PK\x03\x04' + '\0'.repeat(100), { name: 'books.xlsx', type: 'application/zip' }) })).body.data
  startWorker(t, hub)
  const told = await (await fetch(sseUrl)).text()
  const { error } = JSON.parse(/event: failed\ndata: (.*)\n/.exec(told)[1])
  assert.deepEqual([error.code, error.retryable], ['spreadsheet', false])
  assert.match(error.message, /CSV/)
})
