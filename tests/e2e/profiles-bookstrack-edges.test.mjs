// The edges of the book service's contract: what is refused, in which words, and what happens when something is late.
import { test } from 'node:test'
import assert from 'node:assert/strict'
import net from 'node:net'
import { once } from 'node:events'
import { readdir } from 'node:fs/promises'
import { EventSource } from 'eventsource'
import createClient from 'openapi-fetch'
import { ask, claim, form, startBooks } from './harness/jobs.mjs'
import { curl, startCurl } from './harness/curl.mjs'
import { openSocket } from './harness/websocket.mjs'
import { until } from './harness/wait.mjs'

const create = async (hub, body) => (await ask(`${hub.url}/v1/enrichment/batch`, { body: { books: [{ title: 'Dune' }], ...body } })).body.data
const upload = async (hub, text = 'Title\nDune\n') => (await ask(`${hub.url}/api/v2/imports`, { body: form(text) })).body.data
const socket = (t, hub, query, ...protocols) => openSocket(t, `${hub.url}/ws/progress${query}`, { protocols })
const refused = (status, error) => ({ status, type: 'application/json', body: JSON.stringify({ error }) })
/** For who says that it is ready is waited for as long as that takes. */
const PATIENT = { changes: { 'waits = "3s"': 'waits = "60s"' } }
/** What somebody is told over the WebSocket once it is said to be ready. */
async function ready(t, hub, job, message = { type: 'ready', jobId: job.jobId }) {
  const opened = socket(t, hub, `?jobId=${job.jobId}`, job.authToken)
  await once(opened.ws, 'open')
  opened.send(message)
  await opened.hears({ type: 'ready_ack' })
  return opened
}

test('what is no WebSocket is answered 426, and a WebSocket that names no job 400', async t => {
  const hub = await startBooks(t)
  for (const query of ['', '?jobId=j1']) {
    const answer = await ask(`${hub.url}/ws/progress${query}`)
    assert.deepEqual([answer.status, answer.headers.get('upgrade'), answer.body], [426, 'websocket', { error: 'Expected Upgrade: websocket' }])
  }
  const { authToken } = await create(hub)
  for (const query of ['', '?jobId=', '?jobid=j1']) assert.deepEqual(await socket(t, hub, query, authToken).ends(), refused(400, 'Missing jobId parameter'))
})

test('a token that is wrong, missing or of another job is answered 401, whether there is such a job or not', async t => {
  const hub = await startBooks(t)
  await create(hub, { jobId: 'j1' })
  const { authToken } = await create(hub, { jobId: 'j2' })
  for (const protocols of [[], ['nonsense'], [authToken], [`bookstrack-auth.${authToken}x`]]) {
    assert.deepEqual(await socket(t, hub, '?jobId=j1', ...protocols).ends(), refused(401, 'Unauthorized'), protocols)
  }
  assert.deepEqual(await socket(t, hub, '?jobId=j9').ends(), refused(401, 'Unauthorized'))
  for (const path of ['/api/job-state/j1', '/api/job-state/j9', '/v3/jobs/enrichment/j1', '/v3/jobs/enrichment/j1/results', '/v3/jobs/enrichment/j1/stream']) {
    for (const token of [undefined, `${authToken}x`]) assert.equal((await ask(hub.url + path, { token })).status, 401, `${path} with ${token}`)
  }
  const own = await ask(`${hub.url}/api/job-state/j2`, { token: authToken })
  assert.deepEqual([own.status, own.body.data.type, own.body.data.status], [200, 'batch_enrichment', 'initialized'])
})

test('a connection ends with its token, and after that the token is answered 401', async t => {
  const hub = await startBooks(t, { values: { token_ttl: '1s' } })
  let jobId, authToken
  const end = await until('a connection that was opened before its token ran out', async () => {
    ({ jobId, authToken } = await create(hub))
    const end = await socket(t, hub, `?jobId=${jobId}`, authToken).ends()
    return end.status === undefined && end
  })
  assert.deepEqual(end, { code: 1008, reason: 'expired' })
  assert.deepEqual(await socket(t, hub, `?jobId=${jobId}`, authToken).ends(), refused(401, 'Unauthorized'))
  assert.equal((await ask(`${hub.url}/api/job-state/${jobId}`, { token: authToken })).status, 401)
})

test('a token with the app\'s prefix is chosen as it was offered', async t => {
  const hub = await startBooks(t)
  const { jobId, authToken } = await create(hub)
  for (const offer of [authToken, `bookstrack-auth.${authToken}`]) {
    const opened = socket(t, hub, `?jobId=${jobId}`, offer)
    await once(opened.ws, 'open')
    assert.equal(opened.protocol, offer)
  }
})

test('a token in the address is refused, unless the variant says that it counts', async t => {
  for (const [variants, opens] of [[[], false], [['query-token'], true]]) {
    const hub = await startBooks(t, { variants })
    const { jobId, authToken } = await create(hub)
    const opened = socket(t, hub, `?jobId=${jobId}&token=${authToken}`)
    if (opens) {
      await once(opened.ws, 'open')
      assert.equal(opened.protocol, '')
    } else assert.deepEqual(await opened.ends(), refused(401, 'Unauthorized'))
  }
})

test('with the envelope each message has pipeline, time, version and payload', async t => {
  const hub = await startBooks(t, { ...PATIENT, variants: ['envelope'] })
  const job = await create(hub)
  const opened = await ready(t, hub, job)
  const worker = await claim(hub, 'enrichment')
  await worker.progress(1, 2, { message: 'looking up', item: { title: 'Dune' } })
  await until('the half', () => opened.heard().some(({ payload }) => payload.progress === 0.5))
  await worker.hand([{ status: 'found' }], { tell: true })
  await worker.complete({ totalProcessed: 2 })
  assert.deepEqual(await opened.ends(), { code: 1000, reason: 'Job completed' })
  const common = { jobId: job.jobId, pipeline: 'batch_enrichment', version: '1.0.0' }
  const heard = opened.heard().map(({ timestamp, payload: { timestamp: _, ...payload }, ...rest }) => {
    assert.equal(typeof timestamp, 'number')
    return { ...rest, payload }
  })
  const progress = { type: 'job_progress', ...common, payload: { type: 'job_progress', progress: 0.5, status: 'looking up', processedCount: 1, totalCount: 2, currentItem: 'Dune' } }
  assert.deepEqual(heard[0], { type: 'ready_ack', ...common, payload: { type: 'ready_ack' } })
  assert.deepEqual(heard.at(-1), { type: 'job_complete', ...common, payload: { type: 'job_complete', pipeline: 'batch_enrichment', summary: { totalProcessed: 2 } } })
  assert.deepEqual(heard.find(({ payload }) => payload.progress === 0.5), progress)
  const failing = await create(hub)
  const other = await ready(t, hub, failing)
  await (await claim(hub, 'enrichment')).fail('open-library-refused', 'It refuses.')
  const { timestamp, ...error } = await other.hears({ type: 'error' })
  assert.deepEqual(error, { type: 'error', ...common, jobId: failing.jobId, payload: { type: 'error', error: { message: 'It refuses.', code: 'open-library-refused' }, retryable: false } })
  assert.deepEqual(await other.ends(), { code: 1000, reason: 'Job failed' })
})

test('with the envelope every message is in one: of a job that waits, begins, is being canceled and is canceled', async t => {
  const hub = await startBooks(t, { ...PATIENT, variants: ['envelope'] })
  const job = await create(hub)
  const opened = await ready(t, hub, job)
  await opened.hears({ type: 'job_progress' })
  const worker = await claim(hub, 'enrichment')
  await opened.hears({ type: 'job_started' })
  opened.send({ type: 'cancel', jobId: job.jobId })
  assert.equal((await worker.heartbeat('20s')).cancel, true)
  await until('that it is being canceled', () => opened.heard().filter(({ type }) => type === 'job_progress').length === 2)
  await worker.canceled()
  assert.deepEqual(await opened.ends(), { code: 1000, reason: 'Job cancelled by client request' })
  const { timestamp, ...end } = opened.heard().at(-1)
  assert.equal(typeof timestamp, 'number')
  assert.deepEqual(end, { type: 'job_canceled', jobId: job.jobId, pipeline: 'batch_enrichment', version: '1.0.0', payload: { type: 'job_canceled' } })
  for (const { type, jobId, pipeline, version, payload } of opened.heard()) {
    assert.deepEqual([jobId, pipeline, version, payload.type], [job.jobId, 'batch_enrichment', '1.0.0', type])
  }
  assert.deepEqual(opened.heard().map(({ type }) => type), ['ready_ack', 'job_progress', 'job_started', 'job_progress', 'job_canceled'])
})

test('who comes to an enrichment is told at once how it is: while it waits, while it is canceled, and when the hub was killed meanwhile', async t => {
  const hub = await startBooks(t)
  const job = await create(hub)
  const told = async () => {
    const opened = await ready(t, hub, job)
    const message = await opened.hears({ type: 'progress' })
    return [message.jobId, message.progress, message.processedCount]
  }
  assert.deepEqual(await told(), [job.jobId, 0, 0], 'it waits')
  const worker = await claim(hub, 'enrichment')
  assert.deepEqual(await told(), [job.jobId, 0, 0], 'it was begun')
  await hub.crash()
  assert.deepEqual(await told(), [job.jobId, 0, 0], 'nothing was said since')
  const canceled = await ask(`${hub.url}/api/v2/jobs/${job.jobId}/cancel`, { method: 'DELETE', token: job.authToken })
  assert.equal(canceled.status, 200)
  assert.deepEqual(await told(), [job.jobId, 0, 0], 'its worker has not stopped')
  await worker.canceled()
})

test('what a client says of another job is passed over', async t => {
  const hub = await startBooks(t)
  const [job, other] = [await create(hub), await create(hub)]
  const opened = await ready(t, hub, job)
  opened.send({ type: 'cancel', jobId: other.jobId })
  opened.send({ type: 'ready', jobId: other.jobId })
  opened.send({ type: 'ready' })
  await until('the answer to the last', () => opened.heard().filter(({ type }) => type === 'ready_ack').length === 2)
  for (const { jobId, authToken } of [job, other]) {
    assert.equal((await ask(`${hub.url}/api/job-state/${jobId}`, { token: authToken })).body.data.status, 'initialized')
  }
  opened.send({ type: 'cancel', jobId: job.jobId })
  assert.deepEqual(await opened.ends(), { code: 1000, reason: 'Job cancelled by client request' })
})

test('with the names of states the first events of an import are called as its state', async t => {
  const hub = await startBooks(t, { variants: ['state-names'] })
  const { sseUrl } = await upload(hub)
  const heard = []
  const stream = startCurl(t, sseUrl, ({ event }) => heard.push(event), { again: false })
  await until('its first', () => heard.length)
  const worker = await claim(hub, 'import')
  await until('that it runs', () => heard.includes('processing'))
  await worker.progress(1, 2)
  await until('progress', () => heard.includes('progress'))
  await worker.complete({})
  await stream.finished
  assert.deepEqual([heard[0], heard.at(-1), heard.filter(name => name === 'completed').length], ['initialized', 'completed', 1])
})

test('the sequences of the document\'s two React hooks, which name no job in what they say', async t => {
  const hub = await startBooks(t, PATIENT)
  // useWebSocket: ready, progress, cancel.
  const job = await create(hub)
  const opened = await ready(t, hub, job, { type: 'ready' })
  assert.deepEqual(opened.heard()[0], { type: 'ready_ack', jobId: job.jobId })
  const worker = await claim(hub, 'enrichment')
  await worker.progress(1, 4, { item: { title: 'Dune' } })
  assert.equal((await opened.hears({ type: 'progress', progress: 0.25 })).currentBook.title, 'Dune')
  const heard = worker.heartbeat('20s')
  opened.send({ type: 'cancel' })
  assert.equal((await heard).cancel, true)
  await worker.canceled()
  assert.deepEqual(await opened.ends(), { code: 1000, reason: 'Job cancelled by client request' })
  // useSSEStream: progress, completed, close.
  const { sseUrl } = await upload(hub)
  const source = new EventSource(sseUrl)
  t.after(() => source.close())
  const state = {}
  source.addEventListener('progress', event => Object.assign(state, JSON.parse(event.data)))
  source.addEventListener('completed', event => { state.result = JSON.parse(event.data); source.close() })
  const second = await claim(hub, 'import')
  await second.progress(1, 2)
  await until('the half', () => state.progress === 0.5)
  await second.hand([{ title: 'Dune' }])
  await second.complete({})
  await until('the result', () => state.result)
  assert.deepEqual(state.result.books, [{ title: 'Dune' }])
})

test('who never says that it is ready is told all the same, and what is not understood is passed over', async t => {
  const hub = await startBooks(t)
  const job = await create(hub)
  const opened = socket(t, hub, `?jobId=${job.jobId}`, job.authToken)
  await once(opened.ws, 'open')
  for (const text of ['{"type":"dance"}', 'no JSON', '[]', '"ready"', '{"type":7}', '']) opened.send(text)
  const worker = await claim(hub, 'enrichment')
  await worker.progress(1, 2, { item: { title: 'Dune' } })
  await opened.hears({ type: 'progress', progress: 0.5 })
  assert.equal(opened.closed, undefined)
})

test('who comes after the end of an enrichment is told the end, and the socket closes with 1000', async t => {
  const hub = await startBooks(t, PATIENT)
  const job = await create(hub)
  await (await claim(hub, 'enrichment')).complete({ total: 1 })
  const opened = await ready(t, hub, job)
  assert.deepEqual(await opened.ends(), { code: 1000, reason: 'Job completed' })
  assert.deepEqual(opened.heard().map(({ type }) => type), ['ready_ack', 'job_complete'])
})

test('an enrichment is made again by its jobId: the same is the same job with another token, something else is refused with 409', async t => {
  const hub = await startBooks(t)
  const first = await create(hub, { jobId: 'shelf-1' })
  const again = await create(hub, { jobId: 'shelf-1' })
  assert.equal(again.jobId, 'shelf-1')
  assert.notEqual(again.authToken, first.authToken)
  for (const { authToken } of [first, again]) assert.equal((await ask(`${hub.url}/api/job-state/shelf-1`, { token: authToken })).status, 200)
  const other = await ask(`${hub.url}/v1/enrichment/batch`, { body: { books: [{ title: 'Emma' }], jobId: 'shelf-1' } })
  assert.deepEqual([other.status, other.body.error.code], [409, 'JOB_ID_TAKEN'])
  assert.equal((await claim(hub, 'enrichment')).job.id, 'shelf-1')
})

test('a name that is no UUID is taken as well, unless the variant says otherwise', async t => {
  for (const [variants, status] of [[[], 202], [['uuid-ids'], 400]]) {
    const hub = await startBooks(t, { variants })
    for (const path of ['/v1/enrichment/batch', '/api/batch-enrich', '/v3/jobs/enrichment']) {
      const make = jobId => ask(`${hub.url}${path}`, { body: { books: [{ title: 'Dune' }], jobId } })
      const named = await make(`list-${path.length}`)
      assert.equal(named.status, status, path)
      if (status === 400) assert.match(named.body.error.message, /^jobId: it is a UUID/)
      assert.equal((await make(crypto.randomUUID())).status, 202, path)
    }
  }
})

test('a hundred books with the longest titles are taken, and with half a megabyte beside them they are not', async t => {
  const hub = await startBooks(t)
  const books = Array(100).fill({ title: '本'.repeat(500), author: 'x'.repeat(100), isbn: '9780441172719' })
  const make = body => ask(`${hub.url}/v1/enrichment/batch`, { body })
  assert.equal((await make({ books })).status, 202)
  const refused = await make({ books, pad: 'x'.repeat(500_000) })
  assert.deepEqual([refused.status, refused.body.success, refused.body.error.code], [413, false, 'too-large'])
})

test('an enrichment has 1 to 100 books, titles of up to 500 characters, and a jobId of up to 100', async t => {
  const hub = await startBooks(t)
  const post = (body, path = '/api/batch-enrich') => ask(hub.url + path, { body })
  const book = { title: 'Dune' }
  for (const [body, says] of [
    [{ books: Array(101).fill(book) }, /100/], [{ books: [] }, /empty/], [{}, /books/], [{ books: 'Dune' }, /list/],
    [{ books: [book, { title: 'x'.repeat(501) }] }, /books\[1\]\.title.*500/], [{ books: [book], jobId: 'x'.repeat(101) }, /jobId/], ['no JSON', /JSON/],
  ]) {
    const { status, body: answer } = await post(body)
    assert.deepEqual([status, answer.success], [400, false], JSON.stringify(answer))
    assert.match(answer.error.message, says)
  }
  // Characters, and not bytes; by the other path, as this one has had seven of its ten.
  for (const body of [{ books: Array(100).fill(book) }, { books: [{ title: '本'.repeat(500) }] }, { books: [book], jobId: 'x'.repeat(100) }]) {
    assert.equal((await post(body, '/v1/enrichment/batch')).status, 202)
  }
})

test('30 questions a minute are answered, each with how many are left, and the next with 429 in the app\'s words', async t => {
  const hub = await startBooks(t)
  const { jobId } = await upload(hub)
  const path = `/api/v2/imports/${jobId}`
  for (let left = 29; left >= 0; left--) {
    const { status, headers, body } = await ask(hub.url + path)
    assert.deepEqual([status, headers.get('x-ratelimit-limit'), headers.get('x-ratelimit-remaining')], [200, '30', String(left)])
    assert.deepEqual([body.data.type, body.data.status, body.data.progress], ['csv_import', 'initialized', 0])
  }
  const { status, headers, body } = await ask(hub.url + path)
  const wait = Number(headers.get('retry-after'))
  assert.ok(status === 429 && wait >= 1 && wait <= 60, `${status}, ${wait}`)
  assert.deepEqual([headers.get('x-ratelimit-remaining'), body], ['0', {
    error: 'Rate limit exceeded', code: 'RATE_LIMIT_EXCEEDED',
    details: { retryAfter: wait, clientIP: '127.0.0.1', requestsRemaining: 0, requestsLimit: 30, endpoint: path },
  }])
  assert.ok(Math.abs(Number(headers.get('x-ratelimit-reset')) * 1000 - Date.now()) < 62_000, 'it is a time')
})

test('5 imports a minute are taken, the next is 429; what was refused counts too', async t => {
  const hub = await startBooks(t)
  const url = `${hub.url}/api/v2/imports`
  for (const [body, status] of [[form('a'), 202], [form(''), 400], [form('a'), 202], [form('a'), 202], [form('a'), 202], [form('a'), 429]]) {
    assert.equal((await ask(url, { body })).status, status)
  }
})

test('no other path is a second door for uploads, enrichments or questions', async t => {
  const hub = await startBooks(t)
  const statuses = async requests => {
    const found = []
    for (const [path, body, token] of requests) found.push((await ask(hub.url + path, { body, token })).status)
    return found
  }
  const photo = () => form('\xff\xd8\xff', { name: 'shelf.jpg', type: 'image/jpeg' })
  const uploads = [['/api/v2/imports', form('a')], ['/v3/jobs/imports', form('a')], ['/v3/jobs/scans', photo()]]
  assert.deepEqual(await statuses([...uploads, ...uploads]), [202, 202, 202, 202, 202, 429])
  assert.deepEqual(await statuses(uploads), [429, 429, 429])
  const { jobId, authToken } = await create(hub)
  const enrichments = ['/v1/enrichment/batch', '/api/batch-enrich', '/v3/jobs/enrichment'].map(path => [path, { books: [{ title: 'Dune' }] }])
  assert.deepEqual(await statuses([...enrichments, ...enrichments, ...enrichments, ...enrichments]), [...Array(9).fill(202), 429, 429, 429])
  const questions = [`/api/job-state/${jobId}`, `/v3/jobs/enrichment/${jobId}`].map(path => [path, undefined, authToken])
  assert.deepEqual(await statuses([...Array(16).fill(questions).flat()]), [...Array(30).fill(200), 429, 429])
})

test('the upload of a job is deleted with its cancel, by HTTP or over the WebSocket, in a queue or at a worker', async t => {
  const hub = await startBooks(t)
  const kept = async () => (await readdir(hub.data, { recursive: true })).filter(name => /(^|\/)[0-9a-f]{32}$/.test(name)).length
  const cancel = async ({ jobId, authToken }) => (await ask(`${hub.url}/api/v2/jobs/${jobId}/cancel`, { method: 'DELETE', token: authToken })).status
  const waiting = await upload(hub)
  assert.deepEqual([await kept(), await cancel(waiting), await kept()], [1, 200, 0])
  const running = await upload(hub)
  const worker = await claim(hub, 'import')
  assert.deepEqual([await cancel(running), await kept()], [200, 1])
  await worker.canceled()
  assert.equal(await kept(), 0)
  const scan = (await ask(`${hub.url}/v3/jobs/scans`, { body: form('\xff\xd8\xff', { name: 'shelf.jpg', type: 'image/jpeg' }) })).body.data
  assert.equal(await kept(), 1)
  const opened = await ready(t, hub, scan)
  opened.send({ type: 'cancel' })
  await opened.hears({ type: 'job_canceled' })
  await until('that its file is gone', async () => await kept() === 0)
})

test('an upload that is empty, has no file or is no form is refused with what to do', async t => {
  const hub = await startBooks(t)
  for (const [body, status, code] of [[form(''), 400, 'empty-file'], [form('a', { part: 'list' }), 400, 'no-file'], [new FormData(), 400, 'no-file'], [{ file: 'a' }, 415, 'expected-multipart']]) {
    const answer = await ask(`${hub.url}/api/v2/imports`, { body })
    assert.deepEqual([answer.status, answer.body.success, answer.body.error.code], [status, false, code])
  }
})

test('a file of 1 GB is refused before any of it is sent', async t => {
  const hub = await startBooks(t)
  const connection = net.connect(hub.port, '127.0.0.1')
  t.after(() => connection.destroy())
  connection.write(`POST /api/v2/imports HTTP/1.1\r\nhost: x\r\ncontent-type: multipart/form-data; boundary=b\r\ncontent-length: ${2 ** 30}\r\nexpect: 100-continue\r\n\r\n`)
  let said = ''
  connection.setEncoding('utf8').on('data', text => { said += text })
  await until('an answer', () => said.includes('}}'))
  assert.match(said, /^HTTP\/1\.1 413 /)
  assert.match(said, /"success":false,"error":\{"code":"file-too-large","message":"[^"]*52428800 bytes/)
})

test('a stream that hears nothing new ends with timeout; heartbeats go on meanwhile and do not count', async t => {
  const hub = await startBooks(t, { values: { heartbeat_every: '1s', idle: '6s' } })
  const { jobId, sseUrl } = await upload(hub)
  const worker = await claim(hub, 'import')
  await worker.progress(2, 5)
  const heard = []
  const stream = startCurl(t, sseUrl, ({ event, data, id }) => heard.push({ event, id, data: JSON.parse(data) }), { again: false })
  await stream.finished
  assert.deepEqual(heard.at(-1), {
    event: 'timeout', id: undefined,
    data: { error: 'stream_timeout', message: 'No progress for 5 minutes. Use polling endpoint to check status.', jobId, lastStatus: 'processing', lastProgress: 0.4 },
  })
  assert.match(stream.bytes(), /: heartbeat\n\n/)
  assert.match(stream.bytes(), /^: connection established\n\nretry: 5000\n\n/)
  // The job goes on, and its worker with it.
  assert.equal((await worker.complete({})).state, 'completed')
})

test('a stream has the document\'s headers, is open to every page, and takes ids of the app\'s own service', async t => {
  const hub = await startBooks(t)
  const { sseUrl } = await upload(hub)
  await (await claim(hub, 'import')).complete({})
  for (const id of [undefined, '1764763200000-progress', '1764763200000-completed', 'nonsense']) {
    const { status, head, body } = await curl(sseUrl, '-H', 'origin: https://books.example', ...(id ? ['-H', `last-event-id: ${id}`] : []))
    assert.equal(status, 200)
    for (const line of ['content-type: text/event-stream', 'x-accel-buffering: no', 'access-control-allow-origin: *']) assert.ok(head.includes(line), head)
    assert.match(head, /cache-control: no-cache, no-store, must-revalidate/)
    assert.equal(body.match(/event: completed/g)?.length, 1, 'the end, once')
    const [own] = /^id: (.*)$/m.exec(body.slice(body.indexOf('event: completed'))).slice(1)
    assert.equal((await curl(sseUrl, '-H', `last-event-id: ${own}`)).status, 204, 'who has the end is told to stop')
  }
  const wrong = await ask(sseUrl, { headers: { accept: 'application/json' } })
  assert.deepEqual([wrong.status, wrong.body.error.code], [406, 'INVALID_ACCEPT_HEADER'])
})

test('the document\'s requests with openapi-fetch: upload, ask, enrich', async t => {
  const hub = await startBooks(t)
  const client = createClient({ baseUrl: hub.url })
  const made = await client.POST('/api/v2/imports', { body: form('Title\nDune\n') , bodySerializer: body => body })
  const { jobId, sseUrl } = made.data.data
  assert.ok(sseUrl.endsWith(`${jobId}/stream`))
  const worker = await claim(hub, 'import')
  await worker.progress(1, 2, { message: 'Dune' })
  const { data: { data: { startedAt, ...job } } } = await client.GET('/api/v2/imports/{jobId}', { params: { path: { jobId } } })
  assert.deepEqual(job, { jobId, type: 'csv_import', status: 'processing', progress: 0.5, processedCount: 1, totalCount: 2, message: 'Dune' })
  await worker.fail('wrong-columns', 'No title.')
  const { data: { data: failed } } = await client.GET('/api/v2/imports/{jobId}', { params: { path: { jobId } } })
  assert.deepEqual([failed.status, failed.error.code], ['failed', 'wrong-columns'])
  const { data: { data: unknown } = {}, error, response } = await client.GET('/api/v2/imports/{jobId}', { params: { path: { jobId: 'none' } } })
  assert.deepEqual([unknown, response.status, error.error.code], [undefined, 404, 'JOB_NOT_FOUND'])
  const enrichment = await client.POST('/v1/enrichment/batch', { body: { books: [{ title: 'Harry Potter', author: 'J.K. Rowling' }, { isbn: '9780439708180' }], jobId: crypto.randomUUID() } })
  assert.match(enrichment.data.data.websocketUrl, /^ws:.*\/ws\/progress\?jobId=/)
})

for (const [kinds, kind, type, make] of [
  ['imports', 'import', 'csv_import', { body: form('Title\nDune\n') }],
  ['scans', 'scan', 'bookshelf_scan', { body: form('\xff\xd8\xff', { name: 'shelf.jpg', type: 'image/jpeg' }) }],
  ['enrichment', 'enrichment', 'batch_enrichment', { body: { books: [{ title: 'Dune' }] } }],
]) {
  test(`version 3, ${kinds}: made, watched with Bearer, its results fetched; after the end DELETE is 409`, async t => {
    const hub = await startBooks(t, { values: { heartbeat_every: '1s' } })
    const made = await ask(`${hub.url}/v3/jobs/${kinds}`, make)
    assert.deepEqual([made.status, made.body.success, made.body.data.status], [202, true, 'queued'])
    const { jobId, streamUrl, token } = made.body.data
    const own = `${hub.url}/v3/jobs/${kinds}/${jobId}`
    assert.equal(streamUrl, `${own}/stream`)
    assert.equal((await ask(streamUrl, { headers: { accept: 'text/event-stream' } })).status, 401)
    const heard = []
    const stream = startCurl(t, streamUrl, ({ event, data }) => heard.push([event, JSON.parse(data)]), { headers: { authorization: `Bearer ${token}` }, again: false })
    await until('the first', () => heard.length)
    assert.deepEqual([heard[0][0], heard[0][1].jobId], ['progress', jobId])
    const [, ping] = await until('a ping', () => heard.find(([name]) => name === 'ping'))
    assert.match(ping.timestamp, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z$/)
    const worker = await claim(hub, kind)
    await worker.progress(1, 2)
    const status = (await ask(own, { token })).body.data
    assert.deepEqual([status.type, status.status, status.progress, status.processedCount], [type, 'processing', 0.5, 1])
    await worker.hand([{ title: 'Dune' }, { title: 'Emma' }])
    await worker.complete({ found: 2 })
    await stream.finished
    assert.deepEqual([heard.at(-1)[0], heard.filter(([name]) => name === 'completed').length], ['completed', 1])
    const { data } = (await ask(`${own}/results`, { token })).body
    assert.deepEqual(data, { jobId, status: 'completed', results: [{ title: 'Dune' }, { title: 'Emma' }], summary: { found: 2 }, total: 2 })
    const page = (await ask(`${own}/results?from=0&limit=1`, { token })).body.data
    assert.deepEqual([page.results, page.next], [[{ title: 'Dune' }], 1])
    const late = await ask(own, { method: 'DELETE', token })
    assert.deepEqual([late.status, late.body.success], [409, false])
  })
}

test('version 3: a job is found under the path of its kind alone', async t => {
  const hub = await startBooks(t)
  const { jobId, token } = (await ask(`${hub.url}/v3/jobs/enrichment`, { body: { books: [{ title: 'Dune' }], jobId: 'e1' } })).body.data
  for (const kinds of ['imports', 'scans']) {
    const path = `${hub.url}/v3/jobs/${kinds}/${jobId}`
    for (const url of [path, `${path}/results`, `${path}/stream`]) assert.equal((await ask(url, { token })).status, 404, url)
    assert.equal((await ask(path, { method: 'DELETE', token })).status, 404)
  }
  assert.equal((await ask(`${hub.url}/v3/jobs/enrichment/${jobId}`, { token })).body.data.status, 'queued')
})

test('version 3: DELETE cancels what has not ended', async t => {
  const hub = await startBooks(t)
  const { jobId, token } = (await ask(`${hub.url}/v3/jobs/enrichment`, { body: { books: [{ title: 'Dune' }] } })).body.data
  const url = `${hub.url}/v3/jobs/enrichment/${jobId}`
  const canceled = await ask(url, { method: 'DELETE', token })
  assert.deepEqual([canceled.status, canceled.body.data], [200, { jobId, status: 'canceled' }])
  assert.equal((await ask(url, { token })).body.data.status, 'canceled')
})
