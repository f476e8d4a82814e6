// Stock Socket.IO clients of every generation, over every transport, cut off by the network and by a crash of the program
// while events are posted all the time.
import { test } from 'node:test'
import assert from 'node:assert/strict'
import { rm } from 'node:fs/promises'
import { startHub } from './harness/hub.mjs'
import { startProxy } from './harness/proxy.mjs'
import { Counter } from './harness/count.mjs'
import { CLIENTS, connect, latest, options, RECOVERS, topics, TRANSPORTS } from './harness/socketio.mjs'
import { until } from './harness/wait.mjs'

for (const [how, more] of Object.entries(TRANSPORTS)) {
  test(`every generation of clients resumes ${how} after cuts and a crash without gap or duplicate`, async t => {
    const hub = await startHub(t)
    const proxy = await startProxy(t, hub)
    const clients = Object.entries(CLIENTS).map(([name, open]) => Object.assign(connect(t, open, proxy.url, more), { name }))
    const all = step => Promise.all(clients.map(step))
    const wanted = how === 'by polling' ? 'polling' : 'websocket'
    /** Waits until each hears and has moved to its transport: what goes wrong from here on is noticed. */
    const settle = () => all(async ({ name, ledger, socket, transport }) => {
      await ledger.grows()
      await until(`${name} to have upgraded`, () => socket.connected && transport() === wanted)
    })
    const counts = what => new Map(clients.map(client => [client, what(client)]))
    const connected = ({ connects }) => connects.length
    /** Does it to all of them, and waits until each has noticed and is back. */
    const disturb = async what => {
      await settle()
      const before = counts(connected)
      await what()
      await all(client => until(`${client.name} to come back`, () => connected(client) > before.get(client)))
    }
    const counter = new Counter(hub)
    t.after(() => counter.abandon())
    // A cut between two polls is none to a client that polls.
    if (wanted === 'websocket') await disturb(proxy.cut)
    else {
      await settle()
      proxy.cut()
    }
    await disturb(() => { for (const { socket } of clients) socket.io.engine.close() })
    await disturb(() => hub.crash())
    // Again while they are on their way in.
    await settle()
    const before = counts(connected)
    proxy.cut()
    await until('the first to be back', () => clients.some(client => wanted === 'polling' || connected(client) > before.get(client)))
    proxy.cut()
    // Who is cut off while it upgrades, and not while it polls, goes on polling.
    await all(({ ledger }) => ledger.grows())
    await hub.kill()
    const refused = counts(client => client.refused)
    await all(client => until(`${client.name} to meet nobody`, () => client.refused > refused.get(client)))
    await hub.start()
    await settle()
    const last = await counter.stop()
    await all(({ ledger }) => ledger.reaches(last))
    for (const { name, ledger, gaps, connects } of clients) {
      await t.test(name, () => {
        ledger.assertUnbroken()
        assert.equal(ledger.last, last)
        assert.deepEqual(gaps, [])
        assert.ok(connects.length >= (wanted === 'polling' ? 3 : 5), `it connected ${connects.length} times`)
        if (name !== RECOVERS) return
        // What stock clients know as connection state recovery: the same id, and nothing missed.
        assert.deepEqual(connects.map(({ recovered }) => recovered), connects.map((_, index) => index > 0))
        assert.equal(new Set(connects.map(({ id }) => id)).size, 1)
      })
    }
  })
}

test('a client that upgrades while it is told a long past is told each event once', async t => {
  const hub = await startHub(t)
  const pad = 'x'.repeat(300)
  const publish = (from, to) => hub.publish(Array.from({ length: to - from }, (_, i) => ({ name: 'counted', topic: 'count/here', data: { n: from + i, pad } })))
  for (let from = 1; from < 5_001; from += 1_000) await publish(from, from + 1_000)
  const clients = Object.values(CLIENTS).map(open => connect(t, open, hub.url, {}, 'earliest'))
  // Some more while they are at it.
  for (let from = 5_001; from < 6_001; from += 100) await publish(from, from + 100)
  for (const { ledger, transport } of clients) {
    await ledger.reaches(6_000)
    ledger.assertUnbroken()
    assert.equal(ledger.numbers[0], 1)
    await until('the upgrade', () => transport() === 'websocket')
  }
})

test('text of any script arrives whole, both ways, in every generation and over every transport', async t => {
  const hub = await startHub(t)
  const text = 'Zoë, 日本, 🌅, \u2028, \u0000 and \u001e, "2:4", \\n'
  const clients = Object.entries(CLIENTS).flatMap(([name, open]) => Object.entries(TRANSPORTS).map(([how, more]) => {
    const client = Object.assign(connect(t, open, hub.url, more), { name: `${name} ${how}`, said: [] })
    client.socket.on('said', (data, cursor) => client.said.push([data, typeof cursor]))
    return client
  }))
  // All of them before the first word: who connects later hears what is said from then on.
  for (const { socket, name } of clients) await until(`${name} to connect`, () => socket.connected)
  for (const { socket, name } of clients) {
    await new Promise(done => socket.emit('publish', { event: { name: 'said', topic: 'count/here', data: { name, text } } }, done))
  }
  const due = clients.map(({ name }) => [{ name, text }, 'string'])
  for (const { name, said } of clients) {
    await until(`${name} to hear all`, () => said.length === due.length)
    assert.deepEqual(said, due, name)
  }
})

test('a client whose place is not known any more is told of the gap first, and is not recovered', async t => {
  const hub = await startHub(t)
  const client = connect(t, latest, hub.url, { ...options, transports: ['websocket'], auth: { topics } })
  const heard = []
  client.socket.onAny((name, data) => heard.push([name, data.reason]))
  await until('to connect', () => client.connects.length === 1 && heard.length)
  await hub.kill()
  // The log is lost, as with a disk.
  await rm(hub.data, { recursive: true })
  await hub.start()
  await until('to come back', () => client.connects.length === 2)
  await hub.publish({ name: 'counted', topic: 'count/here', data: { n: 1 } })
  await client.ledger.reaches(1)
  assert.deepEqual(heard, [['tidings.open', undefined], ['tidings.gap', 'other-epoch'], ['tidings.open', undefined], ['counted', undefined]])
  assert.deepEqual(client.connects.map(({ recovered }) => recovered), [false, false])
  assert.equal(new Set(client.connects.map(({ id }) => id)).size, 2)
})

test('a client asks for topics, publishes and is answered by acknowledgement', async t => {
  const hub = await startHub(t)
  const { socket } = connect(t, latest, hub.url, { ...options, transports: ['websocket'], auth: { topics: ['nothing/yet'] } })
  const heard = []
  socket.on('said', (data, cursor) => heard.push([data, cursor]))
  const ask = (name, what) => socket.timeout(60_000).emitWithAck(name, what)
  const subscribed = await ask('subscribe', { id: 'a', topics: ['talk/*'] })
  assert.deepEqual([subscribed.type, subscribed.id, subscribed.live], ['subscribed', 'a', true])
  const published = await ask('publish', { id: 'p', event: { name: 'said', topic: 'talk/here', data: { text: 'hello' } } })
  await until('the event', () => heard.length)
  assert.deepEqual(heard, [[{ text: 'hello' }, published.results[0].cursor]])
  assert.deepEqual(await ask('ping', { id: 'q' }), { type: 'pong', id: 'q' })
  assert.deepEqual(await ask('unsubscribe', { id: 'a' }), { type: 'unsubscribed', id: 'a' })
  const refused = await ask('publish', { id: 'r', event: { name: '', topic: 'talk/here' } })
  assert.deepEqual([refused.type, refused.id, refused.status], ['error', 'r', 422])
})

test('what a client emits that is no request is ignored, and so is binary refused', async t => {
  const hub = await startHub(t)
  const { socket, connects, ledger } = connect(t, latest, hub.url, { ...options, transports: ['websocket'], auth: { topics } })
  await until('to connect', () => connects.length === 1)
  const reasons = []
  socket.on('disconnect', reason => reasons.push(reason))
  socket.emit('whatever', { a: 1 })
  await hub.publish({ name: 'counted', topic: 'count/here', data: { n: 1 } })
  await ledger.reaches(1)
  assert.deepEqual(reasons, [])
  socket.emit('whatever', Buffer.from([1, 2, 3]))
  await until('to come back', () => connects.length === 2)
  assert.deepEqual(reasons, ['transport close'])
})
