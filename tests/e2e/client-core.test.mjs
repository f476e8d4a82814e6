// The client, as it is built, in Node against the real hub: cuts, crashes, credentials, what is wanted.
import { test } from 'node:test'
import assert from 'node:assert/strict'
import { createClient } from '../../packages/client/dist/index.js'
import { WebSocket } from 'ws'
import { startHub } from './harness/hub.mjs'
import { startProxy } from './harness/proxy.mjs'
import { Counter, Ledger, cutTwice } from './harness/count.mjs'
import { until } from './harness/wait.mjs'

/** A client that ends with the test, and what it reported. */
function connect(t, url, options = {}) {
  const errors = []
  const client = createClient({ url, onError: error => errors.push(error), backoff: { base: 100 }, ...options })
  t.after(() => client.close())
  return { client, errors, codes: () => errors.map(({ code }) => code) }
}

const isOpen = client => until('an open connection', () => client.connection.status === 'open')

/** Publishes numbers until the test ends, also one that failed. */
function startCounter(t, hub) {
  const counter = new Counter(hub)
  t.after(() => counter.abandon())
  return counter
}

const numbers = (...list) => list.map(n => ({ name: 'counted', topic: 'count/here', data: { n } }))

for (const transport of ['sse', 'websocket', 'poll']) {
  test(`the client misses and doubles nothing over ${transport}, through cuts and a crash`, async t => {
    const hub = await startHub(t)
    const proxy = await startProxy(t, hub)
    const { client } = connect(t, proxy.url, { transports: [transport], environment: { WebSocket } })
    const ledger = new Ledger()
    const gaps = []
    client.onGap(gap => gaps.push(gap))
    client.subscribe({ topics: ['count/*'], onEvent: ({ data }) => ledger.note(data.n) })
    await cutTwice({ hub, proxy, ledger, counter: startCounter(t, hub) })
    assert.deepEqual(gaps, [])
    assert.equal(client.connection.transport, transport)
  })
}

test('the client goes on by another transport when a proxy cuts one again and again, and misses nothing', async t => {
  const hub = await startHub(t)
  const proxy = await startProxy(t, hub)
  const { client, codes } = connect(t, proxy.url, { environment: { WebSocket } })
  const ledger = new Ledger()
  client.subscribe({ topics: ['count/*'], onEvent: ({ data }) => ledger.note(data.n) })
  const counter = startCounter(t, hub)
  // Three in a row are enough; on a slow machine one may have lasted for so long that it counts for none.
  let cuts = 0
  for (await ledger.grows(10); client.connection.transport !== 'websocket'; await ledger.grows(10)) {
    assert.ok(cuts < 20, `it goes on by ${client.connection.transport}`)
    proxy.cut()
    cuts += 1
  }
  assert.ok(cuts >= 3, `after ${cuts} cuts`)
  // What a proxy has to be set to is loaded first.
  await until(() => `the error of a proxy; told were ${codes()}`, () => codes().includes('proxy'))
  await ledger.reaches(await counter.stop())
  ledger.assertUnbroken()
})

test('a client that had heard nothing before the hub was killed still misses nothing', async t => {
  const hub = await startHub(t)
  const { client } = connect(t, hub.url)
  const ledger = new Ledger()
  client.subscribe({ topics: ['count/*'], onEvent: ({ data }) => ledger.note(data.n) })
  await client.position()
  await hub.crash()
  await hub.publish(numbers(1, 2, 3))
  await ledger.reaches(3)
  assert.deepEqual(ledger.numbers, [1, 2, 3])
})

test('what is wanted can change at any time without missing or doubling what is still wanted', async t => {
  const hub = await startHub(t)
  const { client } = connect(t, hub.url)
  const ledger = new Ledger()
  client.subscribe({ topics: ['count/*'], onEvent: ({ data }) => ledger.note(data.n) })
  await isOpen(client)
  const counter = startCounter(t, hub)
  const subscription = client.subscribe({ topics: ['book/0'] })
  for (let n = 1; n <= 10; n++) {
    await ledger.grows(5)
    subscription.replace({ topics: [`book/${n}`, 'author/**'] })
  }
  await ledger.reaches(await counter.stop())
  ledger.assertUnbroken()
})

test('an event is told with its topic, time and place, and a burst as one batch', async t => {
  const hub = await startHub(t)
  const { client } = connect(t, hub.url)
  const batches = []
  client.subscribe({ topics: ['book/*'], names: ['book.updated'], onBatch: events => batches.push(events) })
  await client.position()
  const before = Date.now()
  const [{ cursor }] = await hub.publish([{ name: 'book.updated', topic: 'book/42', data: { id: 42 } }])
  await until('the event', () => batches.length === 1)
  const [[event]] = batches
  assert.deepEqual({ ...event, time: 0 }, { name: 'book.updated', topic: 'book/42', data: { id: 42 }, cursor, time: 0 })
  assert.ok(event.time >= before - 1_000 && event.time <= Date.now() + 1_000)
  assert.equal(client.latest('book.updated', 'book/42'), event)
  assert.equal(client.connection.cursor, cursor)
})

test('a gap is told when the log has forgotten what is missing', async t => {
  const hub = await startHub(t)
  const [{ cursor }] = await hub.publish(numbers(1))
  const stale = `ffffffff-${cursor.split('-')[1]}`
  const { client } = connect(t, hub.url, { cursor: stale })
  const gaps = []
  client.subscribe({ topics: ['count/*'], onGap: gap => gaps.push(gap) })
  await until('a gap', () => gaps.length === 1)
  assert.deepEqual({ reason: gaps[0].reason, asked: gaps[0].asked }, { reason: 'other-epoch', asked: stale })
  assert.equal(gaps[0].resumed, client.connection.cursor)
})

test('everything that is kept is told from `earliest` on', async t => {
  const hub = await startHub(t)
  await hub.publish(numbers(1, 2, 3))
  const { client } = connect(t, hub.url, { cursor: 'earliest' })
  const ledger = new Ledger()
  client.subscribe({ topics: ['count/*'], onEvent: ({ data }) => ledger.note(data.n) })
  await ledger.reaches(3)
  assert.deepEqual(ledger.numbers, [1, 2, 3])
})

test('a wrong credential closes the connection for good, and the next one brings it back', async t => {
  const key = 'tdg_the-key-of-the-reader'
  const hub = await startHub(t, {
    config: `
      [[auth.sources]]
      kind = "api-key"
      keys = [{ name = "reader", value = "${key}", publish = true, operator = true }]
    `,
  })
  let token = 'tdg_wrong'
  const asked = []
  const { client, codes } = connect(t, hub.url, { token: () => { asked.push(token); return token } })
  const ledger = new Ledger()
  client.subscribe({ topics: ['count/*'], onEvent: ({ data }) => ledger.note(data.n) })
  await until('the end', () => client.connection.status === 'closed')
  assert.equal(client.connection.error.code, 'unauthorized')
  assert.equal(client.connection.error.status, 401)
  assert.equal(asked.length, 2, 'asked once more after the first refusal')
  assert.deepEqual(codes(), ['unauthorized', 'unauthorized'])
  await assert.rejects(client.position(), { code: 'unauthorized' })
  token = key
  client.reconnect()
  await client.position()
  assert.equal((await (await client.request('v1/whoami')).json()).source, 'api-key')
  await hub.publish(numbers(1), { headers: { authorization: `Bearer ${key}` } })
  await ledger.reaches(1)
})

test('an unknown address closes the connection for good, with what it said', async t => {
  const hub = await startHub(t)
  const { client } = connect(t, hub.url, { paths: { sse: 'v1/nothing' }, transports: ['sse'] })
  client.subscribe({})
  await until('the end', () => client.connection.status === 'closed')
  assert.equal(client.connection.error.code, 'refused')
  assert.equal(client.connection.error.status, 404)
})
