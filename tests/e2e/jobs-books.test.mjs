// The worker for jobs about books, watched by the book service's published client: it asks a stand-in for the catalogue.
import { test } from 'node:test'
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { EventSource } from 'eventsource'
import { WebSocket } from 'ws'
import { createSSEStream, createWebSocketStream } from '@jukasdrj/bookstrack-api-client/dist/streaming.js'
import { ask, claim, form, startBooks } from './harness/jobs.mjs'
import { binary, startWorker } from './harness/worker.mjs'
import { openSocket } from './harness/websocket.mjs'
import { until } from './harness/wait.mjs'

Object.assign(globalThis, { EventSource, WebSocket })

/** The stand-in for the catalogue, which knows some thirty books. Gives its address. */
async function startCatalogue(t) {
  const child = spawn(binary, ['stand-in', '--listen', '127.0.0.1:0'], { stdio: ['ignore', 'pipe', 'pipe'] })
  let said = ''
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', text => { said += text })
  const ended = once(child, 'exit')
  t.after(async () => { child.kill('SIGKILL'); await ended })
  return until(() => `an address; it said ${said}`, () => /http:\/\/127\.0\.0\.1:\d+/.exec(said)?.[0])
}

test('books that are looked up are told one by one in their order, and the summary counts them', async t => {
  const [hub, catalogue] = [await startBooks(t), await startCatalogue(t)]
  const books = [{ title: 'Dune', author: 'Frank Herbert' }, { isbn: 'garbage' }, { title: 'A Book That Nobody Wrote' }]
  const { jobId, websocketUrl, authToken } = (await ask(`${hub.url}/v1/enrichment/batch`, { body: { books } })).body.data
  const called = []
  const note = name => message => called.push([name, message])
  const { ws } = createWebSocketStream({ websocketUrl, authToken, jobId, onConnected: note('connected'), onProgress: note('progress'), onComplete: note('complete'), onError: note('error'), onDisconnected: note('disconnected') })
  t.after(() => ws.terminate())
  await until('to be connected', () => called.length)
  startWorker(t, hub, { args: ['--profile', 'bookstrack', '--kinds', 'enrichment', '--open-library', catalogue, '--contact', 'tests@example.org'] })
  await until(() => `the end; called were ${JSON.stringify(called)}`, () => called.at(-1)[0] === 'disconnected')
  const enriched = called.filter(([, message]) => message?.type === 'book_enriched').map(([, { index, status, book }]) => [index, status, book.title])
  assert.deepEqual(enriched, [[0, 'found', 'Dune'], [1, 'error', undefined], [2, 'not-found', undefined]])
  const [[, { summary }]] = called.filter(([name]) => name === 'complete')
  assert.deepEqual(summary, { total: 3, found: 1, notFound: 1, errors: 1 })
  assert.deepEqual(called.filter(([name]) => name === 'error'), [])
})

test('a worker that can do it again later puts the import back, and who watches hears one end', async t => {
  const hub = await startBooks(t)
  const { sseUrl } = (await ask(`${hub.url}/api/v2/imports`, { body: form('Title\nDune\n') })).body.data
  const called = []
  const source = createSSEStream({ sseUrl, onProgress: event => called.push(event), onComplete: event => called.push(event), onFailed: event => called.push(event), onError: error => called.push(error) })
  t.after(() => source.close())
  await until('the first', () => called.length)
  await (await claim(hub, 'import')).fail('unreadable-file', 'Try again.', true)
  const second = await claim(hub, 'import')
  assert.equal(second.job.attempt, 2)
  await second.hand([{ title: 'Dune' }])
  await second.complete({})
  await until('the end', () => source.readyState === 2)
  const ends = called.filter(({ status }) => !['initialized', 'processing'].includes(status))
  assert.deepEqual(ends.map(({ status, books }) => [status, books]), [['completed', [{ title: 'Dune' }]]])
})

test('an import whose workers were all lost has failed, and who watches is told why', async t => {
  const hub = await startBooks(t)
  const { jobId, sseUrl } = (await ask(`${hub.url}/api/v2/imports`, { body: form('Title\nDune\n') })).body.data
  const failed = new Promise(done => {
    const source = createSSEStream({ sseUrl, onFailed: done })
    t.after(() => source.close())
  })
  for (let attempt = 1; attempt <= 3; attempt++) assert.equal((await claim(hub, 'import', { lease: '1s' })).job.attempt, attempt)
  const { status, error } = await failed
  assert.equal(status, 'failed')
  assert.ok(error.code && error.message, JSON.stringify(error))
  assert.equal((await ask(`${hub.url}/api/v2/imports/${jobId}`)).body.data.status, 'failed')
})

test('a WebSocket that is opened again after a kill of the hub is told where the job is, and its end', async t => {
  // For who says that it is ready is waited for as long as that takes.
  const hub = await startBooks(t, { changes: { 'waits = "3s"': 'waits = "60s"' } })
  const { jobId, websocketUrl, authToken } = (await ask(`${hub.url}/v1/enrichment/batch`, { body: { books: [{ title: 'Dune' }, { title: 'Emma' }] } })).body.data
  const open = async () => {
    const socket = openSocket(t, websocketUrl, { protocols: [authToken] })
    await once(socket.ws, 'open')
    socket.send({ type: 'ready', jobId })
    return socket
  }
  const first = await open()
  const worker = await claim(hub, 'enrichment')
  await worker.progress(1, 2, { item: { title: 'Dune' } })
  await first.hears({ type: 'progress', progress: 0.5 })
  await worker.hand([{ index: 0, status: 'found', book: { title: 'Dune' } }], { tell: true })
  await first.hears({ type: 'book_enriched' })
  await hub.crash()
  assert.equal((await first.ends()).code, 1006)
  const second = await open()
  await worker.progress(2, 2, { item: { title: 'Emma' } })
  await second.hears({ type: 'progress', progress: 1 })
  await worker.hand([{ index: 1, status: 'found', book: { title: 'Emma' } }], { tell: true })
  await worker.complete({ total: 2 })
  assert.deepEqual(await second.ends(), { code: 1000, reason: 'Job completed' })
  assert.deepEqual(second.heard().filter(({ type }) => type !== 'progress').map(({ type, index }) => [type, index]), [['ready_ack', undefined], ['book_enriched', 0], ['book_enriched', 1], ['job_complete', undefined]])
  // They are in the results as well.
  const { results } = (await ask(`${hub.url}/v3/jobs/enrichment/${jobId}/results`, { token: authToken })).body.data
  assert.deepEqual(results.map(({ book }) => book.title), ['Dune', 'Emma'])
})

test('two who watch one import are told the same, and to leave does not cancel it', async t => {
  const hub = await startBooks(t)
  const { sseUrl } = (await ask(`${hub.url}/api/v2/imports`, { body: form('Title\nDune\n') })).body.data
  const watch = () => {
    const called = []
    const source = createSSEStream({ sseUrl, onProgress: event => called.push(event), onComplete: event => called.push(event) })
    t.after(() => source.close())
    return { source, called }
  }
  const [one, two, leaves] = [watch(), watch(), watch()]
  for (const { called } of [one, two, leaves]) await until('the first', () => called.length)
  leaves.source.close()
  const worker = await claim(hub, 'import')
  assert.equal((await worker.progress(1, 2)).cancel, false)
  await worker.hand([{ title: 'Dune' }])
  await worker.complete({})
  for (const { source } of [one, two]) await until('the end', () => source.readyState === 2)
  assert.deepEqual(one.called.at(-1), two.called.at(-1))
})
