// Jobs by the client: made, watched, canceled and read, with a worker that says each thing when the test wants it said.
import { test } from 'node:test'
import assert from 'node:assert/strict'
import http from 'node:http'
import { once } from 'node:events'
import { createClient } from '../../packages/client/dist/index.js'
import { cancelJob, createJob, getJob, jobResult, listJobs, watchJob } from '../../packages/client/dist/jobs.js'
import { claim } from './harness/jobs.mjs'
import { startHub } from './harness/hub.mjs'
import { until, within } from './harness/wait.mjs'

/** A hub where everybody may do everything, and a client of it. */
async function start(t, { url, ...options } = {}) {
  const hub = await startHub(t)
  return { hub, client: connect(t, url ?? hub.url, options) }
}

function connect(t, url, options = {}) {
  const client = createClient({ url, onError: () => {}, backoff: { base: 50 }, ...options })
  t.after(() => client.close())
  return client
}

// Leases that no slow machine outlasts: a job whose worker is gone is another test's affair.
const work = (hub, kind) => claim(hub, kind, { profile: '', key: '', lease: '5m' })
const brief = ({ state, progress }) => progress?.total ? `${state} ${progress.done}/${progress.total}` : state

/** All that a watch tells, in the ways it tells it. */
function follow(t, client, id, options = {}) {
  const told = { read: [], progress: [], items: [], ends: [], failed: undefined }
  const watch = watchJob(client, id, {
    onProgress: job => told.progress.push(brief(job)),
    onItem: (item, index) => told.items.push([index, item]),
    onEnd: job => told.ends.push(brief(job)),
    ...options,
  })
  t.after(() => watch.close())
  told.reading = (async () => { for await (const job of watch) told.read.push(brief(job)) })().catch(error => { told.failed = error })
  const done = within(60_000, watch.done, () => `the end; told were ${JSON.stringify(told)}`)
  done.catch(() => {})
  return { told, watch, done }
}

test('a job is watched from its making to its end, which is told once, by the loop, the callbacks and the promise', async t => {
  const { hub, client } = await start(t)
  const { job, token } = await createJob(client, { kind: 'import', input: { list: 1 } })
  assert.equal(job.state, 'queued')
  const { told, done } = follow(t, client, job.id)
  await until('the begin', () => told.read.includes('queued'))
  const worker = await work(hub, 'import')
  await until('the worker', () => told.read.includes('running'))
  await worker.progress(1, 4)
  await until('progress', () => told.read.includes('running 1/4'))
  await worker.hand(['a', 'b'], { tell: true })
  await until('items', () => told.items.length === 2)
  await worker.complete({ rows: 4 })
  const end = await done
  await told.reading
  assert.deepEqual([end.state, end.result], ['completed', { rows: 4 }])
  assert.deepEqual(told.items, [[0, 'a'], [1, 'b']])
  assert.deepEqual(told.ends, ['completed 4/4'])
  assert.deepEqual(told.read, [...told.progress, 'completed 4/4'])

  // Who comes late is told the end, and nothing else; its token is enough for that.
  const late = follow(t, connect(t, hub.url), job.id, { token })
  assert.deepEqual((await late.done).result, { rows: 4 })
  await late.told.reading
  assert.deepEqual(late.told.read, ['completed 4/4'])
})

test('a cancel resolves when the worker has answered, and not before', async t => {
  const { hub, client } = await start(t)
  const { job } = await createJob(client, 'import')
  const { told, done } = follow(t, client, job.id)
  const worker = await work(hub, 'import')
  let acknowledged
  const cancel = cancelJob(client, job.id).then(job => { acknowledged = job })
  await until('the worker to hear of it', async () => (await worker.heartbeat('20s')).cancel)
  assert.equal((await cancelJob(client, job.id, { wait: 0 })).canceling, true, 'who does not wait is told that it is on its way')
  assert.equal(acknowledged, undefined)
  await worker.canceled()
  await cancel
  assert.equal(acknowledged.state, 'canceled')
  assert.equal((await done).state, 'canceled')
  assert.deepEqual(told.ends, ['canceled'])
})

test('a cancel that comes too late gives the end that there was', async t => {
  const { hub, client } = await start(t)
  const { job } = await createJob(client, 'import')
  await (await work(hub, 'import')).complete({ rows: 0 })
  assert.equal((await cancelJob(client, job.id)).state, 'completed')
})

test('a queued job is canceled at once, and to stop watching cancels nothing', async t => {
  const { hub, client } = await start(t)
  const [left, canceled] = [(await createJob(client, 'import')).job, (await createJob(client, 'export')).job]
  for await (const job of watchJob(client, left.id)) { assert.equal(job.state, 'queued'); break }
  const stop = new AbortController()
  const watch = watchJob(client, left.id, { signal: stop.signal })
  const reading = (async () => { for await (const _ of watch) stop.abort() })()
  await assert.rejects(reading, { code: 'aborted' })
  await assert.rejects(watch.done, { code: 'aborted' })
  assert.equal((await cancelJob(client, canceled.id)).state, 'canceled')
  assert.deepEqual(await getJob(client, left.id).then(({ state, canceling }) => [state, canceling]), ['queued', undefined])
  await (await work(hub, 'import')).complete({})
})

test('a hub that is killed on the way, twice, is nothing that a watcher need know of', async t => {
  const { hub, client } = await start(t)
  const { job } = await createJob(client, 'import')
  const { told, done } = follow(t, client, job.id)
  const worker = await work(hub, 'import')
  await worker.hand(['a'], { tell: true })
  await until('the first', () => told.items.length === 1)
  await hub.crash()
  await worker.hand(['b'], { tell: true })
  await until('the second', () => told.items.length === 2)
  await hub.kill()
  await hub.start()
  await worker.hand(['c'], { tell: true })
  await worker.complete({ rows: 3 })
  assert.deepEqual((await done).result, { rows: 3 })
  await told.reading
  assert.deepEqual(told.items, [[0, 'a'], [1, 'b'], [2, 'c']])
  assert.deepEqual(told.ends, ['completed'])
})

/** A proxy that does something of its own with streams of jobs; `streams` counts them, `asked` the questions. */
async function startLiar(t, hub, lie) {
  const seen = { streams: 0, asked: 0 }
  const server = http.createServer((request, response) => {
    const isStream = request.url.includes('/events')
    if (isStream) seen.streams++
    else if (request.method === 'GET') seen.asked++
    const onward = http.request({ host: '127.0.0.1', port: hub.port, path: request.url, method: request.method, headers: request.headers }, answer => {
      if (isStream) return lie(answer, response)
      response.writeHead(answer.statusCode, answer.headers)
      answer.pipe(response)
    })
    onward.on('error', () => response.destroy())
    response.on('close', () => onward.destroy())
    request.pipe(onward)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => { server.closeAllConnections(); server.close() })
  return { seen, url: `http://127.0.0.1:${server.address().port}` }
}

for (const [what, lie, streams] of [
  ['holds back what is streamed', (answer, response) => {
    const held = []
    answer.on('data', chunk => held.push(chunk))
    answer.on('end', () => { response.writeHead(answer.statusCode, answer.headers); response.end(Buffer.concat(held)) })
  }, 1],
  ['gives the head of a stream and nothing of its body', (answer, response) => {
    response.writeHead(answer.statusCode, answer.headers)
    response.flushHeaders()
    answer.resume()
  }, 1],
  ['answers streams with a page', (answer, response) => { answer.destroy(); response.writeHead(200, { 'content-type': 'text/html' }).end('<html>Log in</html>') }, 1],
  ['cuts each stream', (answer, response) => {
    response.writeHead(answer.statusCode, answer.headers)
    answer.once('data', chunk => response.write(chunk, () => response.destroy()))
  }, 3],
]) {
  test(`behind a proxy that ${what} a job is asked about instead, and its items are told too`, async t => {
    const hub = await startHub(t)
    const proxy = await startLiar(t, hub, lie)
    const client = connect(t, proxy.url)
    const { job, token } = await createJob(client, 'import')
    const { told, done } = follow(t, client, job.id, { token })
    await until('to be asked about', () => proxy.seen.asked > 0)
    const worker = await work(hub, 'import')
    await worker.hand(['a', 'b'], { tell: true })
    await until('items', () => told.items.length === 2)
    await worker.complete({ rows: 2 })
    assert.deepEqual((await done).result, { rows: 2 })
    await told.reading
    assert.equal(proxy.seen.streams, streams)
    assert.deepEqual(told.items, [[0, 'a'], [1, 'b']])
    assert.equal(told.ends.length, 1)
  })
}

test('ten jobs are watched over the one connection that the client has', async t => {
  const hub = await startHub(t)
  const proxy = await startLiar(t, hub, (answer, response) => {
    response.writeHead(answer.statusCode, answer.headers)
    answer.pipe(response)
  })
  const client = connect(t, proxy.url)
  const made = await Promise.all(Array.from({ length: 10 }, () => createJob(client, 'import')))
  const watched = made.map(({ job }) => follow(t, client, job.id))
  await until('all to be seen', () => watched.every(({ told }) => told.read.includes('queued')))
  for (const _ of made) await (await work(hub, 'import')).complete({})
  await Promise.all(watched.map(({ done }) => done))
  assert.equal(proxy.seen.streams, 1)
})

test('a job that is not there, or not to be seen, is a refusal and no endless watch', async t => {
  const { client } = await start(t)
  const { told, watch } = follow(t, client, 'nowhere')
  await assert.rejects(watch.done, { name: 'TidingsError', status: 404, code: 'refused' })
  await told.reading
  assert.equal(told.failed.problem.type, 'urn:tidings:problem:no-such-job')
  await assert.rejects(getJob(client, 'nowhere'), { status: 404 })
  await assert.rejects(cancelJob(client, 'nowhere'), { status: 404 })
  await assert.rejects(createJob(client, { kind: 'a/b' }), { name: 'TidingsError', status: 422 })
})

test('a file goes to the worker, and how much of it was sent is told', async t => {
  const { hub, client } = await start(t)
  const sent = []
  const file = new File(['Title\nDune\n'], 'books.csv', { type: 'text/csv' })
  const { job, token, expires } = await createJob(client, { kind: 'import', file, input: { by: 'me' } }, { onUploadProgress: fraction => sent.push(fraction) })
  assert.ok(token.startsWith('tdj_') && expires > Date.now())
  const worker = await work(hub, 'import')
  assert.equal(worker.job.id, job.id)
  assert.equal((await worker.file()).text, 'Title\nDune\n')
  assert.equal(sent.at(-1), 1)
  await worker.complete({})
})

test('the same key makes one job', async t => {
  const { client } = await start(t)
  const make = () => createJob(client, 'import', { idempotencyKey: 'once' })
  assert.equal((await make()).job.id, (await make()).job.id)
})

test('the result is read page by page, and the list of jobs too', async t => {
  const { hub, client } = await start(t)
  const { job } = await createJob(client, 'import')
  const worker = await work(hub, 'import')
  const items = Array.from({ length: 25 }, (_, n) => ({ n }))
  await worker.hand(items)
  await worker.complete({})
  const read = []
  for await (const item of jobResult(client, job.id, { page: 10 })) read.push(item)
  assert.deepEqual(read, items)
  const rest = []
  for await (const item of jobResult(client, job.id, { from: 20 })) rest.push(item.n)
  assert.deepEqual(rest, [20, 21, 22, 23, 24])

  for (let n = 0; n < 4; n++) await createJob(client, { kind: 'other', id: `other-${n}` })
  const first = await listJobs(client, { kind: 'other', limit: 3 })
  const second = await listJobs(client, { kind: 'other', limit: 3, before: first.before })
  assert.deepEqual([...first.jobs, ...second.jobs].map(({ id }) => id).sort(), [0, 1, 2, 3].map(n => `other-${n}`))
  assert.deepEqual((await listJobs(client, { state: 'completed' })).jobs.map(({ id }) => id), [job.id])
})
