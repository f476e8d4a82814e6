// The engine fails in every way that there is, and no replica has to be restarted for it.
import { after, test } from 'node:test'
import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { startAudience } from './harness/audience.mjs'
import { startCurl } from './harness/curl.mjs'
import { DOWN, startFaultProxy, UP } from './harness/faults.mjs'
import { natsProgram, startNats } from './harness/nats.mjs'
import { keyOf, runReplica, startReplicas } from './harness/replicas.mjs'
import { until } from './harness/wait.mjs'

const nats = await startNats({ after }, { nodes: 3, links: true })

let hubs = 0
const start = (t, options) => startReplicas(t, { nats, hub: `e${++hubs}`, ...options })

/** One publish, as it is answered. */
async function publish(replica, n = 0) {
  const answer = await fetch(`${replica.url}/v1/publish`, {
    method: 'POST',
    headers: { authorization: `Bearer ${keyOf('app')}`, 'content-type': 'application/json' },
    body: JSON.stringify({ name: 'tried', topic: 'elsewhere', data: { n } }),
  })
  return { status: answer.status, retryAfter: answer.headers.get('retry-after'), body: await answer.text() }
}

/** Waits until a replica knows that it is cut off: publishes are refused in a way that says when to come back. */
async function isCutOff(replica) {
  await replica.becomes(503, 20_000)
  const { status, retryAfter, body } = await publish(replica)
  assert.equal(status, 503, body)
  assert.match(retryAfter ?? '', /^\d+$/)
  assert.match(body, /urn:tidings:problem:/)
}

/** A listener that counts what comes into its silence. */
async function startQuiet(t, replica) {
  const quiet = startCurl(t, `${replica.url}/v1/events?topic=nothing`, () => {}, { headers: { authorization: `Bearer ${keyOf('reader')}` }, again: false })
  await until('the quiet stream to open', () => quiet.bytes().includes('tidings.open'))
  const beats = () => quiet.bytes().match(/^:/gm)?.length ?? 0
  return {
    code: quiet.code,
    /** Waits for so many more heartbeats. */
    async beats(more) {
      const goal = beats() + more
      await until(`${goal} heartbeats`, () => beats() >= goal)
    },
  }
}

const BEATS = { TIDINGS_API__HEARTBEAT_EVERY: '1s' }

test('the NATS node that leads the log is killed, and comes back, and it costs nobody an event', async t => {
  const { url, hub } = await start(t)
  const crowd = await startAudience(t, { url })
  await crowd.grows()
  const leader = await nats.leaderOf(`TIDINGS_${hub}`)
  await leader.kill()
  await crowd.grows(30)
  await leader.start()
  await nats.settled()
  await crowd.grows(30)
  await crowd.assertWell()
})

test('without any NATS node publishes are refused for now, streams stay, and all goes on when it is back', async t => {
  const { replicas } = await start(t, { nginx: false, env: BEATS })
  const urls = replicas.map(({ url }) => url)
  const crowd = await startAudience(t, { urls, publishTo: urls[0] })
  const quiet = await Promise.all(replicas.map(replica => startQuiet(t, replica)))
  await crowd.grows()
  const opens = crowd.listeners.filter(({ transport }) => transport !== 'poll').map(({ opens }) => opens)
  await nats.kill()
  await Promise.all(replicas.map(isCutOff))
  await Promise.all(quiet.map(({ beats }) => beats(2)))
  assert.deepEqual(await Promise.all(replicas.map(async replica => (await fetch(`${replica.url}/health`)).status)), [200, 200])
  await nats.start()
  await Promise.all(replicas.map(replica => replica.becomes(200, 30_000)))
  await crowd.grows()
  assert.deepEqual(quiet.map(({ code }) => code()), [undefined, undefined], 'the streams stayed open')
  assert.deepEqual(crowd.listeners.filter(({ transport }) => transport !== 'poll').map(({ opens }) => opens), opens, 'nobody had to come back')
  await crowd.assertWell()
})

const FAULTS = {
  cut: link => link.cut(),
  'half-open towards NATS': link => link.halfOpen(UP),
  'half-open from NATS': link => link.halfOpen(DOWN),
  'a black hole': link => link.blackhole(),
}

test('a replica whose links to NATS fail in any way says so, keeps its streams, and catches up when they are well', async t => {
  // One replica for each fault, so that all fail in the same moment, one with slow links, and one that is well.
  const names = [...Object.keys(FAULTS), 'slow', 'well']
  const links = await Promise.all(names.map(() => Promise.all(nats.nodes.map(({ port }) => startFaultProxy(t, port)))))
  const { replicas } = await start(t, { count: names.length, links, nginx: false, env: BEATS })
  const [slow, well] = replicas.slice(-2)
  const crowd = await startAudience(t, { urls: replicas.map(({ url }) => url), publishTo: well.url, each: 3 })
  const failing = Object.values(FAULTS).map((fail, index) => ({ fail, replica: replicas[index], links: links[index] }))
  await crowd.grows()
  for (const link of links[names.indexOf('slow')]) link.delay(150)
  for (const { fail, links } of failing) links.forEach(fail)
  await crowd.publisher.grows(50)
  await Promise.all(failing.map(async ({ replica }) => {
    const quiet = await startQuiet(t, replica)
    await isCutOff(replica)
    await quiet.beats(2)
    assert.equal(quiet.code(), undefined)
  }))
  assert.equal((await publish(slow)).status, 200)
  assert.equal((await well.ready()).status, 200)
  for (const { links } of failing) for (const link of links) link.heal()
  await Promise.all(replicas.map(replica => replica.becomes(200)))
  await crowd.grows()
  for (const replica of replicas) assert.equal((await publish(replica)).status, 200, replica.name)
  await crowd.assertWell()
})

test('the NATS node that leads the log is not reached by the others any more, and it costs nobody an event', async t => {
  const { replicas, hub } = await start(t, { nginx: false })
  const urls = replicas.map(({ url }) => url)
  // At each replica in turn: one of them may be connected to the very node that is alone now.
  let turn = 0
  const crowd = await startAudience(t, { urls, publishTo: () => urls[turn++ % 2] })
  await crowd.grows()
  const links = nats.linksOf(nats.nodes.indexOf(await nats.leaderOf(`TIDINGS_${hub}`)))
  for (const link of links) link.blackhole()
  await crowd.grows(30)
  for (const link of links) link.heal()
  await nats.settled()
  await crowd.grows(30)
  await crowd.assertWell()
})

test('a log that was begun anew is told as a gap, and no cursor of the old one is misread', async t => {
  const { replicas, url, hub } = await start(t)
  const crowd = await startAudience(t, { url, pace: null })
  await crowd.publish(30)
  await crowd.hasHeard()
  await Promise.all(replicas.map(replica => replica.kill()))
  await nats.deleteStream(`TIDINGS_${hub}`)
  await Promise.all(replicas.map(replica => replica.start()))
  // The new log has as many events as the old one before all have come back, so that each old offset is one of it.
  await crowd.publish(60)
  await crowd.hasHeard()
  await crowd.assertWell({ gaps: crowd.listeners.length })
  for (const { history, name } of crowd.listeners) assert.deepEqual(history.gaps.map(({ reason }) => reason), ['other-epoch'], name)
})

const hasOld = existsSync(natsProgram('debian'))
test('a server that would drop settings is refused with a sentence that says what to do', { skip: !hasOld && 'there is no NATS server of Debian here' }, async t => {
  const old = await startNats(t, { version: 'debian' })
  const { code, out } = await runReplica(t, { nats: old, hub: 'old' })
  assert.equal(code, 1, out)
  assert.match(out, /version 2\.9\.10.*use 2\.10/)
})
