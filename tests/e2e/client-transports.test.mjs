// The client's three transports against the real hub: each tells every event once and in order, through cuts and a killed hub, and
// says why it was refused.
import { test } from 'node:test'
import assert from 'node:assert/strict'
import { WebSocket } from 'ws'
import { createClient } from '../../packages/client/dist/index.js'
import { startHub } from './harness/hub.mjs'
import { startProxy } from './harness/proxy.mjs'
import { until } from './harness/wait.mjs'

const KEY = name => `tdg_the-key-of-${name}-and-of-nobody-else`
const PUBLISHER = { 'x-api-key': KEY('app') }
const config = `
  [[auth.sources]]
  kind = "api-key"
  in = [{ header = "authorization", scheme = "Bearer" }, { header = "x-api-key" }, { subprotocol = "bearer." }]
  keys = [
    { name = "app", value = "${KEY('app')}", publish = true, operator = true },
    { name = "reader", value = "${KEY('reader')}", grants = ["all"] },
  ]
`
const event = (n, topic = 'talk/here') => ({ name: 'said', topic, audience: ['all'], data: { n } })

/** A client that has one transport alone, and all it has heard. */
function listen(t, url, transport, options = {}) {
  const heard = [], gaps = [], errors = []
  const client = createClient({
    url, transports: [transport], token: KEY('reader'), backoff: { base: 20 }, environment: { WebSocket },
    onError: error => errors.push(error), ...options,
  })
  t.after(() => client.close())
  client.subscribe({ onEvent: event => heard.push(event), onGap: gap => gaps.push(gap) })
  return { client, heard, gaps, errors, numbers: () => heard.map(({ data }) => data.n) }
}

for (const transport of ['sse', 'websocket', 'poll']) {
  test(`${transport}: every event once and in order, with topic, time and place, through a cut and a killed hub`, async t => {
    const hub = await startHub(t, { config })
    const proxy = await startProxy(t, hub)
    const { client, heard, gaps, numbers } = listen(t, proxy.url, transport)
    const from = await client.position()
    assert.match(from, /^[0-9a-f]{8}-\d+$/)
    let n = 0
    const publish = count => hub.publish(Array.from({ length: count }, () => event(++n)), { headers: PUBLISHER })
    const caught = () => until(() => `${n} events; ${heard.length} were heard`, () => heard.length >= n)
    const before = Date.now()
    await publish(1)
    await caught()
    const [{ name, topic, cursor, time }] = heard
    assert.deepEqual([name, topic], ['said', 'talk/here'])
    assert.match(cursor, /^[0-9a-f]{8}-\d+$/)
    assert.ok(time >= before - 1000 && time <= Date.now() + 1000)
    await publish(500)
    await caught()
    proxy.cut()
    await publish(100)
    await caught()
    await hub.crash()
    await publish(100)
    await caught()
    await until('to be open again', () => client.connection.status === 'open')
    await publish(10)
    await caught()
    assert.deepEqual(numbers(), Array.from({ length: n }, (_, index) => index + 1))
    assert.deepEqual(gaps, [])
    await until('the place', () => client.connection.cursor === heard.at(-1).cursor)
  })

  test(`${transport}: only the topics that were asked for, from the place that was given`, async t => {
    const hub = await startHub(t, { config })
    await hub.publish([event(1, 'a/1'), event(2, 'b/1'), event(3, 'a/2')], { headers: PUBLISHER })
    const { heard, numbers } = listen(t, hub.url, transport, { topics: ['a/*'], cursor: 'earliest' })
    await until('the past', () => heard.length === 2)
    await hub.publish([event(4, 'b/1'), event(5, 'a/3')], { headers: PUBLISHER })
    await until('what is new', () => heard.length === 3)
    assert.deepEqual(numbers(), [1, 3, 5])
  })

  test(`${transport}: a place in a history that was lost is a gap, and it goes on`, async t => {
    const hub = await startHub(t, { config })
    const { client, heard, gaps, numbers } = listen(t, hub.url, transport, { cursor: '00000001-7' })
    await client.position()
    await until('the gap', () => gaps.length)
    assert.deepEqual(gaps.map(({ reason, asked }) => [reason, asked]), [['other-epoch', '00000001-7']])
    await hub.publish([event(1)], { headers: PUBLISHER })
    await until('what is new', () => heard.length)
    assert.deepEqual(numbers(), [1])
  })

  test(`${transport}: a wrong credential is 401 with what the hub says, and is not tried again`, async t => {
    const hub = await startHub(t, { config })
    const { client } = listen(t, hub.url, transport, { token: 'tdg_wrong' })
    await assert.rejects(client.position(), { name: 'TidingsError', code: 'unauthorized', status: 401 })
    assert.equal(client.connection.status, 'closed')
    assert.match(client.connection.error.problem.type, /^urn:tidings:problem:/)
  })

  test(`${transport}: who is disconnected by an operator is told so, and stays away`, async t => {
    const hub = await startHub(t, { config })
    const { client } = listen(t, hub.url, transport)
    await client.position()
    const revoked = await fetch(`${hub.url}/v1/revoke`, { method: 'POST', headers: { 'content-type': 'application/json', ...PUBLISHER }, body: '{"principal":"reader"}' })
    assert.equal(revoked.status, 200, await revoked.text())
    await until(() => `the end; it is ${JSON.stringify(client.connection)}`, () => client.connection.status === 'closed')
    assert.ok(['forbidden', 'unauthorized'].includes(client.connection.error.code), client.connection.error.code)
  })
}
