// What operators see of the running hub, and whom they send away: with real clients of every transport.
import { test } from 'node:test'
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { EventSource } from 'eventsource'
import { io } from 'socket.io-client'
import { startHub } from './harness/hub.mjs'
import { startChromium } from './harness/chromium.mjs'
import { openSocket } from './harness/websocket.mjs'
import { until, within } from './harness/wait.mjs'

const key = name => `tdg_the-key-of-${name}-and-of-nobody-else`
const of = name => ({ headers: { authorization: `Bearer ${key(name)}` } })
const config = `
  [[auth.sources]]
  kind = "api-key"
  keys = [
    { name = "op", value = "${key('op')}", grants = ["**"], publish = true, operator = true },
    { name = "reader", value = "${key('reader')}", grants = ["all"] },
  ]
`
const ask = async (hub, path, options = {}) => {
  const answer = await fetch(hub.url + path, options)
  return { status: answer.status, body: answer.status === 204 ? undefined : await answer.json() }
}
const streams = async hub => (await ask(hub, '/v1/streams')).body.streams
const publish = (hub, n, topic = 'talk/here') => fetch(`${hub.url}/v1/publish`, {
  method: 'POST',
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify({ name: 'said', topic, data: { n } }),
})
/** The one stream of this transport, once it is there. */
const found = (hub, transport) => until(`a stream by ${transport}`, async () => (await streams(hub)).find(stream => stream.transport === transport))

/** The events of a response body, as they come: `{ event, data, topic, time, id }`. */
async function * events(url, options) {
  const answer = await fetch(url, options)
  assert.equal(answer.status, 200)
  let text = ''
  for await (const chunk of answer.body.pipeThrough(new TextDecoderStream())) {
    text += chunk
    for (let end; (end = text.indexOf('\n\n')) >= 0; text = text.slice(end + 2)) {
      const fields = text.slice(0, end).split('\n').map(line => line.split(/: ?(.*)/s, 2)).filter(([name]) => name)
      const block = Object.fromEntries(fields)
      if (block.event) yield { ...block, data: JSON.parse(block.data) }
    }
  }
}

/** Opens a client of each kind, and gives a function that waits until it is sent away and says what it was told. */
const CLIENTS = {
  sse: async (t, hub) => {
    const source = new EventSource(`${hub.url}/v1/events`)
    t.after(() => source.close())
    const closed = once(source, 'tidings.close').then(([{ data }]) => {
      source.close()
      return JSON.parse(data)
    })
    await once(source, 'tidings.open')
    return () => closed
  },
  websocket: async (t, hub) => {
    const socket = openSocket(t, `${hub.url}/v1/ws?topics=talk/*`)
    await socket.gets(1)
    return async () => {
      assert.equal((await socket.ends()).code, 4004)
      return socket.heard().at(-1)
    }
  },
  socketio: (t, hub) => socketio(t, hub, ['websocket']),
  'socketio-polling': (t, hub) => socketio(t, hub, ['polling']),
  poll: async (t, hub) => {
    const { cursor } = (await ask(hub, '/v1/poll')).body
    await until('the first poll to be over', async () => (await streams(hub)).length === 0)
    const answer = fetch(`${hub.url}/v1/poll?cursor=${cursor}&wait=50`)
    return async () => {
      // A poll that is refused is not sent again.
      assert.equal((await answer).status, 401)
      return { code: 4004, reason: 'disconnected', reconnect: false }
    }
  },
}

async function socketio(t, hub, transports) {
  const socket = io(hub.url, { transports })
  t.after(() => socket.close())
  const closed = once(socket, 'tidings.close')
  const left = once(socket, 'disconnect')
  await once(socket, 'connect')
  return async () => {
    const [why] = await closed
    assert.equal((await left)[0], 'io server disconnect', 'a stock client stays away after that')
    return why
  }
}

for (const [transport, open] of Object.entries(CLIENTS)) {
  test(`a client by ${transport} is listed, and told that it is sent away for good`, async t => {
    const hub = await startHub(t)
    const sentAway = await open(t, hub)
    const stream = await found(hub, transport)
    assert.ok(Math.abs(Date.now() - stream.opened) < 60_000, `opened at ${stream.opened}`)
    assert.equal((await ask(hub, `/v1/streams/${stream.id}`, { method: 'DELETE' })).status, 204)
    const { code, reason, reconnect } = await within(60_000, sentAway(), 'the client to be told')
    assert.deepEqual({ code, reason, reconnect }, { code: 4004, reason: 'disconnected', reconnect: false })
    await until('nobody to be listed', async () => (await streams(hub)).length === 0)
    const again = await ask(hub, `/v1/streams/${stream.id}`, { method: 'DELETE' })
    assert.equal(again.status, 404)
    assert.equal(again.body.type, 'urn:tidings:problem:no-such-stream')
  })
}

test('who is no operator sees nothing and sends nobody away', async t => {
  const hub = await startHub(t, { config })
  const source = events(`${hub.url}/v1/events`, of('reader'))
  assert.equal((await source.next()).value.event, 'tidings.open')
  const [{ id }] = (await ask(hub, '/v1/streams', of('op'))).body.streams
  for (const path of ['/v1/streams', '/v1/topics', '/v1/profiles', '/v1/log', '/v1/log/events', '/v1/stats', '/v1/stats/events']) {
    const { status, body } = await ask(hub, path, of('reader'))
    assert.deepEqual([status, body.type], [403, 'urn:tidings:problem:not-an-operator'], path)
    assert.equal((await ask(hub, path)).status, 401, path)
  }
  assert.equal((await ask(hub, `/v1/streams/${id}`, { method: 'DELETE', ...of('reader') })).status, 403)
  assert.equal((await ask(hub, '/v1/streams', of('op'))).body.streams.length, 1, 'it is still there')
  const { body } = await ask(hub, '/v1/whoami', of('reader'))
  assert.deepEqual([body.principal, body.operator, body.publishes, body.dev], ['reader', false, false, false])
  await source.return()
})

test('rates, latencies and counts follow what is published', async t => {
  const hub = await startHub(t)
  const figures = events(`${hub.url}/v1/stats/events`)
  const history = (await figures.next()).value
  assert.deepEqual([history.event, history.data.every], ['tidings.history', 1000])
  const listening = events(`${hub.url}/v1/events?topic=talk/*&meta=true`)
  assert.equal((await listening.next()).value.event, 'tidings.open')
  const before = Date.now()
  for (let n = 0; n < 30; n++) {
    await publish(hub, n, n % 3 ? 'talk/here' : 'talk/there')
    const { value } = await listening.next()
    assert.equal(value.topic, n % 3 ? 'talk/here' : 'talk/there')
    assert.ok(Number(value.time) >= before - 1 && Number(value.time) <= Date.now() + 1, value.time)
    assert.deepEqual(value.data, { n })
  }
  let told
  do told = (await figures.next()).value.data
  while (told.delivered < 30)
  assert.deepEqual([told.events, told.delivered, told.streams.sse], [30, 30, 1])
  assert.ok(told.latency.p50 <= told.latency.p99 && told.latency.p99 <= told.latency.max && told.latency.max < 60_000, JSON.stringify(told))
  const { body } = await ask(hub, '/v1/topics?match=talk/*')
  assert.deepEqual(body.topics.map(({ topic, events }) => [topic, events]), [['talk/here', 20], ['talk/there', 10]])
  assert.ok(body.topics[0].rate > body.topics[1].rate && body.topics[1].rate > 0, JSON.stringify(body))
  const kept = (await ask(hub, '/v1/log/events?limit=2&topic=talk/there')).body
  assert.deepEqual(kept.events.map(({ data }) => data.n), [27, 24])
  assert.deepEqual((await ask(hub, `/v1/log/events?topic=talk/there&before=${kept.before}`)).body.events.map(({ data }) => data.n), [21, 18, 15, 12, 9, 6, 3, 0])
  await Promise.all([figures.return(), listening.return()])
})

test('the console, or how to get it, is at /console and linked from the page', async t => {
  const hub = await startHub(t)
  const page = await (await startChromium(t)).newPage()
  const refused = []
  page.on('console', message => { if (/Content Security Policy/.test(message.text())) refused.push(message.text()) })
  await page.goto(`${hub.url}/console/topics`)
  if (await page.getByText('built without the console').count() > 0) {
    assert.equal(new URL(page.url()).pathname, '/console')
    await page.getByText('live', { exact: true }).waitFor()
  } else {
    assert.equal(new URL(page.url()).pathname, '/console/topics')
    await page.locator('#app > *').first().waitFor()
    await page.goto(`${hub.url}/`)
    await page.getByRole('link', { name: 'Console' }).click()
    await page.locator('#app > *').first().waitFor()
  }
  assert.deepEqual(refused, [])
})
