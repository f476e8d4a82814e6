// nginx in front, with the configuration that deploy/ gives to operators.
import { test } from 'node:test'
import assert from 'node:assert/strict'
import http from 'node:http'
import { EventSource } from 'eventsource'
import { startHub } from './harness/hub.mjs'
import { startNginx } from './harness/nginx.mjs'
import { startCurl } from './harness/curl.mjs'
import { Counter, Ledger } from './harness/count.mjs'
import { until } from './harness/wait.mjs'

const path = '/v1/events?topic=count/*'

test('behind nginx a single small event arrives at once', async t => {
  // No heartbeat carries along what nginx holds back.
  const hub = await startHub(t, { env: { TIDINGS_API__HEARTBEAT_EVERY: '1h' } })
  const nginx = await startNginx(t, hub)
  const seen = []
  const curl = startCurl(t, nginx.url + path, event => seen.push(event))
  await until('the stream to open', () => seen.length)
  await hub.publish({ name: 'counted', topic: 'count/here', data: { n: 1 } })
  const { data } = await until('the event, with nothing behind it', () => seen.find(({ event }) => event === 'counted'))
  assert.deepEqual(JSON.parse(data), { n: 1 })
  assert.equal(curl.starts(), 1)
})

test('behind nginx a stock EventSource survives restarts of the hub without gap or duplicate', async t => {
  const hub = await startHub(t)
  const nginx = await startNginx(t, hub)
  const ledger = new Ledger()
  const source = new EventSource(nginx.url + path)
  t.after(() => source.close())
  let refused = 0
  source.addEventListener('error', () => { refused++ })
  source.addEventListener('counted', event => ledger.note(JSON.parse(event.data).n))
  const counter = new Counter(hub)
  t.after(() => counter.abandon())
  await ledger.grows()
  // Down for long enough that the client meets an nginx without a hub behind it.
  await hub.kill()
  const before = refused
  await until('the client to be refused while the hub is away', () => refused > before + 1)
  await hub.start()
  await ledger.grows()
  await hub.crash()
  await ledger.grows()
  await ledger.reaches(await counter.stop())
  ledger.assertUnbroken()
})

test('behind nginx a burst of ten thousand events arrives whole', async t => {
  const hub = await startHub(t)
  const nginx = await startNginx(t, hub)
  const ledger = new Ledger()
  let open = false
  startCurl(t, nginx.url + path, ({ event, data }) => {
    if (event === 'counted') ledger.note(JSON.parse(data).n)
    else open = true
  })
  await until('the stream to open', () => open)
  for (let from = 1; from <= 10_000; from += 500) {
    const batch = Array.from({ length: 500 }, (_, i) => ({ name: 'counted', topic: 'count/here', data: { n: from + i, pad: 'x'.repeat(200) } }))
    // Through nginx as well: a publish has a body larger than what nginx buffers.
    await hub.publish.call({ url: nginx.url }, batch)
  }
  await ledger.reaches(10_000)
  ledger.assertUnbroken()
  assert.equal(ledger.numbers[0], 1)
})

test('behind nginx one address can hold so many streams and no more, and another is not hurt', async t => {
  const hub = await startHub(t)
  const nginx = await startNginx(t, hub)
  const agent = new http.Agent({ maxSockets: Infinity })
  const open = localAddress => new Promise((resolve, reject) => {
    const request = http.get(nginx.url + path, { agent, localAddress, headers: { accept: 'text/event-stream' } }, response => {
      response.on('error', () => {}).resume()
      resolve(response.statusCode)
    })
    t.after(() => request.destroy())
    request.on('error', reject)
  })
  const statuses = []
  for (let i = 0; i < 200; i += 20) statuses.push(...await Promise.all(Array.from({ length: 20 }, () => open('127.0.0.1'))))
  assert.deepEqual([...new Set(statuses)], [200])
  assert.equal(await open('127.0.0.1'), 429)
  assert.equal(await open('127.0.0.2'), 200)
})

test('behind nginx the metrics are not to be had', async t => {
  const hub = await startHub(t)
  const nginx = await startNginx(t, hub)
  assert.equal((await fetch(`${nginx.url}/metrics`)).status, 404)
})
