// Two replicas of a hub over a cluster of three NATS servers: their clients do not notice which one they are at.
import { after, test } from 'node:test'
import assert from 'node:assert/strict'
import { startAudience } from './harness/audience.mjs'
import { LISTENERS } from './harness/listeners.mjs'
import { startNats } from './harness/nats.mjs'
import { startReplicas } from './harness/replicas.mjs'
import { until } from './harness/wait.mjs'

const nats = await startNats({ after }, { nodes: 3 })

// Each test has a hub of its own on the cluster.
let hubs = 0
const start = (t, options) => startReplicas(t, { nats, hub: `t${++hubs}`, ...options })

/** How many streams and waiting polls a replica holds. */
async function streams(replica) {
  const { body } = await replica.ready()
  return Object.values(body.streams).reduce((sum, count) => sum + count, 0)
}

/** Starts a replica that was gone, and waits until nginx, which leaves it alone for a while, gives it clients again. */
async function startAgain(replica) {
  await replica.start()
  await replica.becomes(200)
  // Not by who polls for Socket.IO: nginx keeps its own account of where those go.
  const others = async () => { const { socketio, ...counts } = (await replica.ready()).body.streams; return counts }
  await until(`somebody to be at ${replica.name} again`, async () => Object.values(await others()).some(count => count > 0))
}

test('what is published at one replica is heard at the other, by every transport', async t => {
  const { replicas } = await start(t, { nginx: false })
  const urls = replicas.map(({ url }) => url)
  let turn = 0
  // Of each transport and role one listens at each replica, and every other event is published at the other.
  const crowd = await startAudience(t, { urls, each: 2, publishTo: () => urls[turn++ % 2] })
  await crowd.grows(100)
  await crowd.assertWell()
})

test('a cursor from one replica is taken up by the other, by every transport', async t => {
  const { replicas: [a, b] } = await start(t, { nginx: false })
  const first = await startAudience(t, { url: a.url })
  await first.grows(50)
  const [{ newest: cursor }] = first.listeners
  for (const listener of first.listeners) {
    listener.history.ended('it goes to the other replica')
    listener.history.end.expected = true
    listener.close()
  }
  await first.publisher.grows(30)
  // Nobody has heard of these, and the other replica has served nobody yet.
  const second = await startAudience(t, { url: b.url, cursor, pace: null, published: first.published })
  await second.hasHeard()
  await first.publisher.grows(20)
  await first.assertWell()
  await second.assertWell()
  assert.ok(second.listeners.every(({ history }) => history.events.length > 20))
})

test('a replica that is killed: its clients go on at the other and come to no harm, and so when that one is killed', async t => {
  const { replicas, url } = await start(t)
  const crowd = await startAudience(t, { url, each: 2 })
  await crowd.grows()
  for (const replica of replicas) {
    assert.ok(await streams(replica) > 0, `${replica.name} holds some`)
    const cuts = crowd.listeners.map(listener => listener.cuts)
    await replica.kill()
    await until('somebody to be cut off', () => crowd.listeners.some((listener, index) => listener.cuts > cuts[index]))
    await crowd.grows(50)
    await startAgain(replica)
    await crowd.grows()
  }
  await crowd.assertWell()
})

test('a replica that is drained: its clients go on at the other, not all in one moment, and come to no harm', async t => {
  // A window that stays one where something stands still in it.
  const { replicas: [replica], url } = await start(t, { env: { TIDINGS_LIMITS__DRAIN_WINDOW: '10s' } })
  const crowd = await startAudience(t, { url, each: 3 })
  await crowd.grows()
  const left = []
  const before = crowd.listeners.map(({ cuts }) => cuts)
  for (const listener of crowd.listeners) listener.onCut = () => left.push(performance.now())
  const drained = replica.drain()
  await until('/ready to say so', async () => (await replica.ready().catch(() => ({}))).status !== 200)
  await drained
  assert.ok(left.length > 2, `${left.length} were sent away`)
  const window = left.at(-1) - left[0]
  assert.ok(window > 100, `all ${left.length} left within ${window} ms`)
  // Nobody is sent back to the one that sends them away.
  const often = crowd.listeners.map(({ name, cuts }, index) => ({ name, times: cuts - before[index] })).filter(({ times }) => times > 2)
  assert.deepEqual(often, [])
  await crowd.grows()
  await startAgain(replica)
  await crowd.grows()
  await crowd.assertWell()
})

test('clients of all transports are spread over both replicas', async t => {
  const { replicas, url } = await start(t)
  const crowd = await startAudience(t, { url, each: 2 })
  await crowd.grows()
  // Who polls counts only while it waits.
  let holds
  await until(() => `both to hold some; they hold ${holds}`, async () => {
    holds = await Promise.all(replicas.map(streams))
    return holds.every(count => count >= Object.keys(LISTENERS).length)
  })
  await crowd.assertWell()
})
