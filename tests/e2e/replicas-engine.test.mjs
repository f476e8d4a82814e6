// NATS servers are killed, one or all, and no replica has to be restarted for it; what is not the log that it was is told, or refused.
import { after, test } from 'node:test'
import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { startAudience } from './harness/audience.mjs'
import { BEATS, isCutOff, startQuiet } from './harness/cut-off.mjs'
import { natsProgram, startNats } from './harness/nats.mjs'
import { runReplica, startReplicas } from './harness/replicas.mjs'

const nats = await startNats({ after }, { nodes: 3 })

let hubs = 0
const start = (t, options) => startReplicas(t, { nats, hub: `e${++hubs}`, ...options })

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
  await Promise.all(replicas.map(replica => replica.becomes(200)))
  await crowd.grows()
  assert.deepEqual(quiet.map(({ code }) => code()), [undefined, undefined], 'the streams stayed open')
  assert.deepEqual(crowd.listeners.filter(({ transport }) => transport !== 'poll').map(({ opens }) => opens), opens, 'nobody had to come back')
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
