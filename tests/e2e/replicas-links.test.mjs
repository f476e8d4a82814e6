// Links fail in every way that there is, between a replica and NATS and between the nodes of NATS, and no replica has to be restarted for
// it.
import { after, test } from 'node:test'
import assert from 'node:assert/strict'
import { startAudience } from './harness/audience.mjs'
import { BEATS, isCutOff, publish, startQuiet } from './harness/cut-off.mjs'
import { DOWN, startFaultProxy, UP } from './harness/faults.mjs'
import { ask } from './harness/jobs.mjs'
import { startNats } from './harness/nats.mjs'
import { keyOf, startReplicas } from './harness/replicas.mjs'
import { until } from './harness/wait.mjs'

const nats = await startNats({ after }, { nodes: 3, links: true })

let hubs = 0
const start = (t, options) => startReplicas(t, { nats, hub: `l${++hubs}`, ...options })

/** Waits until a replica takes what is published: where the machine stands still, NATS may choose another leader first. */
const takes = replica => until(`${replica.name} to take a publish`, async () => (await publish(replica)).status === 200)

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
  // Each is open before its replica is cut off, which lets nobody in after a while.
  const quiet = await Promise.all(failing.map(({ replica }) => startQuiet(t, replica)))
  await crowd.grows()
  for (const link of links[names.indexOf('slow')]) link.delay(150)
  for (const { fail, links } of failing) links.forEach(fail)
  await crowd.publisher.grows(50)
  await Promise.all(failing.map(async ({ replica }, index) => {
    await isCutOff(replica)
    await quiet[index].beats(2)
    assert.equal(quiet[index].code(), undefined)
  }))
  await takes(slow)
  await well.becomes(200)
  for (const { links } of failing) for (const link of links) link.heal()
  await Promise.all(replicas.map(replica => replica.becomes(200)))
  await crowd.grows()
  for (const replica of replicas) await takes(replica)
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
  // The others choose a leader, the one that is alone gives up, and who is connected to it finds that out: that takes its time.
  await crowd.grows(30, 150_000)
  for (const link of links) link.heal()
  await nats.settled()
  await crowd.grows(30)
  await crowd.assertWell()
})

test('a replica at a NATS node that the others do not reach takes nobody for ahead of the log, though the node lives', async t => {
  const alone = nats.nodes[2]
  const { replicas: [a], hub } = await start(t, { nats: { urls: [nats.nodes[0].url, nats.nodes[1].url] }, count: 1, nginx: false })
  const consumers = () => until('the list of consumers', async () => (await nats.request(`$JS.API.CONSUMER.LIST.TIDINGS_${hub}`)).consumers)
  let before = (await consumers()).map(({ name }) => name)
  const { replicas } = await startReplicas(t, { nats: { urls: [alone.url] }, hub, count: 2, nginx: false })
  // NATS keeps a consumer on any node: only those on the one that is alone go on as if nothing were.
  await until('a consumer to be kept there', async () => {
    const made = (await consumers()).filter(({ name }) => !before.includes(name))
    if (made.some(({ cluster }) => cluster?.leader === alone.name)) return true
    before = before.concat(made.map(({ name }) => name))
    await Promise.all(replicas.map(replica => replica.kill()))
    await Promise.all(replicas.map(replica => replica.start()))
  }, 200_000)
  const publish = () => ask(`${a.url}/v1/publish`, { token: keyOf('app'), body: { name: 'tried', topic: 'room/1', data: 1 } })
  await takes(a)
  const links = nats.linksOf(2)
  for (const link of links) link.blackhole()
  let published
  await until('a publish to be taken', async () => (published = await publish()).status === 200)
  const { cursor } = published.body.results[0]
  const answers = await Promise.all(replicas.map(({ url }) => ask(`${url}/v1/poll?cursor=${cursor}`, { token: keyOf('reader') })))
  for (const { status, text } of answers) {
    assert.ok(!text.includes('tidings.gap'), text)
    assert.equal(status, 503, text)
  }
  for (const link of links) link.heal()
  await nats.settled()
  await Promise.all(replicas.map(replica => replica.becomes(200)))
})
