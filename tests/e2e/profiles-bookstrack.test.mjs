// The book service's contract with the streaming half of its published client, as it is: the test plays the worker.
import { test } from 'node:test'
import assert from 'node:assert/strict'
import { EventSource } from 'eventsource'
import { WebSocket } from 'ws'
import { createSSEStream, createWebSocketStream } from '@jukasdrj/bookstrack-api-client/dist/streaming.js'
import { ask, claim, form, startBooks } from './harness/jobs.mjs'
import { startProxy } from './harness/proxy.mjs'
import { until } from './harness/wait.mjs'

/** What the client makes its streams of. Each request of an EventSource is noted. */
const requests = []
globalThis.EventSource = class extends EventSource {
  constructor(url) {
    super(url, {
      fetch: (address, init) => {
        const request = { url: String(address), lastId: init.headers['Last-Event-ID'] }
        requests.push(request)
        return fetch(address, init).then(response => { request.status = response.status; return response })
      },
    })
  }
}
globalThis.WebSocket = WebSocket
const requestsTo = url => requests.filter(request => request.url === url)

/** What would only make the tests long. */
const QUICK = { retry: '20ms' }
/** For who says that it is ready is waited for as long as that takes. */
const PATIENT = { changes: { 'waits = "3s"': 'waits = "60s"' } }
const CSV = 'Title,Author\nDune,Frank Herbert\nNeuromancer,William Gibson\n'
const BOOKS = [
  { isbn: '9780441172719', title: 'Dune', authors: ['Frank Herbert'], language: 'en' },
  { title: 'Neuromancer', authors: ['William Gibson'] },
]

/** Uploads a list as the app does, and gives what is in `data`. */
async function importBooks(hub, text = CSV) {
  const made = await ask(`${hub.url}/api/v2/imports`, { body: form(text) })
  assert.equal(made.status, 202, made.text)
  return made.body.data
}

/** Has books enriched as the app does, and gives what is in `data`. */
async function enrichBooks(hub, books = BOOKS, jobId = crypto.randomUUID(), path = '/v1/enrichment/batch') {
  const made = await ask(`${hub.url}${path}`, { body: { books, jobId } })
  assert.equal(made.status, 202, made.text)
  return made.body.data
}

/** The client's SSE stream, and what it called in order. */
function watchImport(t, sseUrl, { except = [] } = {}) {
  const called = []
  const note = name => event => called.push([name, event])
  const all = { onProgress: note('progress'), onComplete: note('complete'), onFailed: note('failed'), onError: note('error') }
  for (const name of except) delete all[name]
  const source = createSSEStream({ sseUrl, ...all })
  t.after(() => source.close())
  const names = () => called.map(([name]) => name)
  return {
    source, called, names,
    opens: () => until('the stream to open', () => source.readyState === 1),
    first: async name => (await until(`${name}; called were ${names()}`, () => called.find(([found]) => found === name)))[1],
    count: name => names().filter(found => found === name).length,
  }
}

/** The client's WebSocket stream, all that it received and what it called. */
function watchEnrichment(t, { websocketUrl, authToken, jobId }) {
  const called = [], messages = []
  const note = name => event => called.push([name, event])
  const stream = createWebSocketStream({
    websocketUrl, authToken, jobId,
    onConnected: note('connected'), onProgress: note('progress'), onComplete: note('complete'), onError: note('error'), onDisconnected: note('disconnected'),
  })
  t.after(() => stream.ws.terminate())
  let closed
  stream.ws.on('message', text => messages.push(JSON.parse(text)))
  stream.ws.on('close', (code, reason) => { closed = { code, reason: String(reason) } })
  const types = () => messages.map(({ type }) => type)
  return {
    ...stream, called, messages, types,
    hears: type => until(`${type}; ${types()} came`, () => messages.find(message => message.type === type)),
    ends: () => until(`the end; ${types()} came`, () => closed),
    names: () => called.map(([name]) => name),
  }
}

test('an import is uploaded and watched: progress, then completed with the books, by one request that the client closes', async t => {
  const hub = await startBooks(t)
  const { jobId, authToken, sseUrl, token, streamUrl } = await importBooks(hub)
  assert.equal(sseUrl, `${hub.url}/api/v2/imports/${jobId}/stream`)
  assert.deepEqual([token, streamUrl], [authToken, sseUrl], 'both sets of names are there')
  const watch = watchImport(t, sseUrl)
  const queued = await watch.first('progress')
  assert.equal(queued.status, 'initialized')
  const worker = await claim(hub, 'import')
  assert.deepEqual([worker.job.id, (await worker.file()).text], [jobId, CSV])
  await worker.progress(1, 2, { message: 'row 1' })
  await until('the half', () => watch.called.some(([, event]) => event.progress === 0.5))
  const half = watch.called.find(([, event]) => event.progress === 0.5)[1]
  assert.deepEqual({ ...half, startedAt: undefined }, { jobId, status: 'processing', progress: 0.5, processedCount: 1, totalCount: 2, message: 'row 1', startedAt: undefined })
  assert.match(half.startedAt, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
  await worker.hand(BOOKS)
  await worker.complete({ rows: 2, imported: 2 })
  const { completedAt, ...end } = await watch.first('complete')
  assert.deepEqual(end, { jobId, status: 'completed', progress: 1, processedCount: 2, totalCount: 2, books: BOOKS, summary: { rows: 2, imported: 2 } })
  assert.match(completedAt, /Z$/)
  assert.equal(watch.source.readyState, 2)
  assert.deepEqual([watch.count('complete'), watch.count('error'), requestsTo(sseUrl).length], [1, 0, 1])
})

test('an import that fails calls onFailed once, with the sentence of its worker, and the client closes', async t => {
  const hub = await startBooks(t)
  const { jobId, sseUrl } = await importBooks(hub, 'no list')
  const watch = watchImport(t, sseUrl)
  const worker = await claim(hub, 'import')
  await worker.progress(2, 5)
  await worker.fail('wrong-columns', 'There is no title among the columns.')
  const failed = await watch.first('failed')
  assert.deepEqual(failed, {
    jobId, status: 'failed', progress: 0.4, processedCount: 2, totalCount: 5,
    error: { code: 'wrong-columns', message: 'There is no title among the columns.', retryable: false },
  })
  assert.deepEqual([watch.count('failed'), watch.count('error'), watch.source.readyState, requestsTo(sseUrl).length], [1, 0, 2, 1])
})

test('who comes late to an import is given its end by the first answer', async t => {
  const hub = await startBooks(t)
  for (const ended of ['complete', 'failed']) {
    const { sseUrl } = await importBooks(hub)
    const worker = await claim(hub, 'import')
    await worker.hand(BOOKS)
    await (ended === 'complete' ? worker.complete({}) : worker.fail('unreadable-file', 'It broke.'))
    const watch = watchImport(t, sseUrl)
    await watch.first(ended)
    assert.deepEqual([watch.names(), requestsTo(sseUrl).length], [[ended], 1])
  }
})

test('a client that waits for completed alone comes back after a failure, is told 204, and stops', async t => {
  const hub = await startBooks(t, { values: QUICK })
  const { sseUrl } = await importBooks(hub)
  const watch = watchImport(t, sseUrl, { except: ['onFailed'] })
  await watch.opens()
  const worker = await claim(hub, 'import')
  await worker.fail('unreadable-file', 'It broke.')
  await until('the source to be closed', () => watch.source.readyState === 2)
  assert.deepEqual(requestsTo(sseUrl).map(({ status }) => status), [200, 204])
})

test('an import that nobody has is refused with 404, once, and the client does not come back', async t => {
  const hub = await startBooks(t)
  const url = `${hub.url}/api/v2/imports/${crypto.randomUUID()}/stream`
  const watch = watchImport(t, url)
  await watch.first('error')
  assert.deepEqual([watch.source.readyState, requestsTo(url).map(({ status }) => status)], [2, [404]])
  const { status, body } = await ask(url, { headers: { accept: 'text/event-stream' } })
  assert.deepEqual([status, body.error], [404, 'job_not_found'])
})

test('a client whose stream ended with timeout is let in again, and told the end when there is one', async t => {
  const hub = await startBooks(t, { values: { ...QUICK, heartbeat_every: '1s', idle: '1s' } })
  const { sseUrl } = await importBooks(hub)
  const worker = await claim(hub, 'import')
  const watch = watchImport(t, sseUrl)
  const timeouts = []
  watch.source.addEventListener('timeout', event => timeouts.push(JSON.parse(event.data)))
  await until('timeout', () => timeouts.length)
  assert.deepEqual([timeouts[0].error, timeouts[0].lastStatus], ['stream_timeout', 'processing'])
  await until('to be let in again', () => requestsTo(sseUrl).filter(({ status }) => status === 200).length >= 2)
  await worker.complete({})
  await watch.first('complete')
  assert.deepEqual([watch.count('complete'), watch.source.readyState], [1, 2])
})

test('an enrichment: the token is chosen as the subprotocol, ready is acknowledged, each book is told in order, and the client closes', async t => {
  const hub = await startBooks(t)
  const made = await enrichBooks(hub)
  const { jobId, authToken, websocketUrl } = made
  assert.equal(websocketUrl, `${hub.url.replace('http', 'ws')}/ws/progress?jobId=${jobId}`)
  const watch = watchEnrichment(t, made)
  assert.deepEqual(await watch.hears('ready_ack'), { type: 'ready_ack', jobId })
  assert.equal(watch.ws.protocol, authToken)
  const worker = await claim(hub, 'enrichment')
  assert.deepEqual(worker.job.input.books, BOOKS)
  await worker.progress(0, 2, { item: { title: 'Dune', isbn: '9780441172719' } })
  const progress = await until('the first book', () => watch.messages.find(({ currentBook }) => currentBook?.title))
  assert.deepEqual(progress, { type: 'progress', jobId, progress: 0, processedCount: 0, totalCount: 2, currentBook: { title: 'Dune', isbn: '9780441172719' } })
  const items = BOOKS.map((book, index) => ({ index, status: 'found', book }))
  for (const item of items) await worker.hand([item], { tell: true })
  await worker.complete({ total: 2, found: 2 })
  const complete = await watch.hears('job_complete')
  assert.deepEqual([complete.jobId, complete.progress, complete.summary], [jobId, 1, { total: 2, found: 2 }])
  assert.ok([1000, 1005].includes((await watch.ends()).code), 'the client closes without a code, and that is clean')
  const enriched = watch.messages.filter(({ type }) => type === 'book_enriched')
  assert.deepEqual(enriched, BOOKS.map((book, index) => ({ type: 'book_enriched', jobId, index, status: 'found', book })))
  assert.equal(watch.types().at(-1), 'job_complete')
  assert.deepEqual([watch.names()[0], watch.names().at(-1), watch.names().filter(name => ['complete', 'error'].includes(name))], ['connected', 'disconnected', ['complete']])
})

test('a client that connects when the work is done already is told each book in order, and then the end', async t => {
  const hub = await startBooks(t, PATIENT)
  const made = await enrichBooks(hub)
  const items = BOOKS.map((book, index) => ({ index, status: 'found', book }))
  const worker = await claim(hub, 'enrichment')
  await worker.hand(items, { tell: true })
  await worker.complete({ total: 2, found: 2 })
  for (let time = 0; time < 2; time++) {
    const watch = watchEnrichment(t, made)
    await watch.ends()
    assert.deepEqual(watch.types(), ['ready_ack', 'book_enriched', 'book_enriched', 'job_complete'])
    assert.deepEqual(watch.messages.slice(1, 3).map(({ index, book }) => [index, book]), BOOKS.map((book, index) => [index, book]))
    await hub.crash()
  }
})

test('the client\'s cancel() reaches the worker at once, and the end closes the socket with 1000 and the document\'s words', async t => {
  const hub = await startBooks(t)
  const made = await enrichBooks(hub)
  const watch = watchEnrichment(t, made)
  const worker = await claim(hub, 'enrichment')
  await watch.hears('ready_ack')
  const heard = worker.heartbeat('20s')
  watch.cancel()
  assert.equal((await heard).cancel, true)
  await worker.canceled()
  assert.deepEqual(await watch.hears('job_canceled'), { type: 'job_canceled', jobId: made.jobId })
  assert.deepEqual(await watch.ends(), { code: 1000, reason: 'Job cancelled by client request' })
})

test('an import is canceled by DELETE with its token as Bearer, and its stream ends with canceled; after that nobody cancels it', async t => {
  const hub = await startBooks(t)
  const { jobId, authToken, sseUrl } = await importBooks(hub)
  const watch = watchImport(t, sseUrl)
  await watch.opens()
  const canceled = []
  watch.source.addEventListener('canceled', event => { canceled.push(JSON.parse(event.data)); watch.source.close() })
  const worker = await claim(hub, 'import')
  await worker.progress(1, 4)
  const cancel = (token = authToken) => ask(`${hub.url}/api/v2/jobs/${jobId}/cancel`, { method: 'DELETE', token })
  const other = await importBooks(hub)
  for (const wrong of [null, 'tdj_wrong', other.authToken]) {
    const { status, body } = await cancel(wrong)
    assert.ok([401, 404].includes(status), `${wrong}: ${status}`)
    assert.equal(body.success, false)
  }
  const heard = worker.heartbeat('20s')
  const { status, body } = await cancel()
  assert.equal(status, 200)
  assert.deepEqual([body.success, body.data.jobId, body.data.status], [true, jobId, 'canceled'])
  assert.equal((await heard).cancel, true)
  await worker.canceled()
  await until('canceled', () => canceled.length)
  assert.deepEqual(canceled, [{ jobId, status: 'canceled', progress: 0.25, processedCount: 1, totalCount: 4 }])
  assert.equal((await cancel()).status, 200, 'again: the same')
  const third = await importBooks(hub)
  for (const next of [other, third]) assert.equal((await claim(hub, 'import')).job.id, next.jobId)
})

test('a stream that is cut goes on where the import is by then, through a kill of the hub as well, and sees one end', async t => {
  const hub = await startBooks(t, { values: QUICK })
  const proxy = await startProxy(t, hub)
  const { jobId } = await importBooks(hub)
  const url = `${proxy.url}/api/v2/imports/${jobId}/stream`
  const watch = watchImport(t, url)
  await watch.opens()
  const worker = await claim(hub, 'import')
  const sees = done => until(`${done} of 4`, () => watch.called.some(([, event]) => event.processedCount === done))
  await worker.progress(1, 4)
  await sees(1)
  proxy.cut()
  await worker.progress(2, 4)
  await sees(2)
  await hub.kill()
  // How far it was is kept every few seconds: right after a crash it may be told less until the worker says more.
  const crashedAt = watch.called.length
  await hub.start()
  await worker.progress(3, 4)
  await sees(3)
  await worker.hand(BOOKS)
  proxy.cut()
  await worker.complete({})
  assert.deepEqual((await watch.first('complete')).books, BOOKS)
  assert.equal(watch.count('complete'), 1)
  assert.equal(watch.source.readyState, 2)
  const counts = called => called.filter(([name]) => name === 'progress').map(([, event]) => event.processedCount)
  for (const part of [counts(watch.called.slice(0, crashedAt)), counts(watch.called.slice(crashedAt))]) {
    assert.deepEqual(part, part.toSorted((a, b) => a - b), 'progress does not go back')
  }
})
