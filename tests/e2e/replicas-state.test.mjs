// What one replica was told holds at the other: keys, tickets, revocations, what was published already, jobs.
import { after, test } from 'node:test'
import assert from 'node:assert/strict'
import { startAudience } from './harness/audience.mjs'
import { startCurl } from './harness/curl.mjs'
import { startFaultProxy } from './harness/faults.mjs'
import { run } from './harness/hub.mjs'
import { ask, form } from './harness/jobs.mjs'
import { listen, LISTENERS } from './harness/listeners.mjs'
import { startNats } from './harness/nats.mjs'
import { keyOf, startReplicas } from './harness/replicas.mjs'
import { until } from './harness/wait.mjs'

// One node: what replicas share does not depend on how many servers keep it.
const nats = await startNats({ after })

let hubs = 0
const start = (t, options) => startReplicas(t, { nats, hub: `s${++hubs}`, nginx: false, ...options })
const app = keyOf('app')

test('a principal that is revoked at one replica is out at both, by every transport, and nobody else is', async t => {
  const { replicas: [a, b] } = await start(t)
  const urls = [a.url, b.url]
  const crowd = await startAudience(t, { urls, publishTo: a.url })
  const open = who => Object.keys(LISTENERS).flatMap(transport => urls.map((url, index) => (
    listen(t, { transport, url, key: keyOf(who), name: `${transport} ${who} ${index}`, topics: ['room/*'], sees: ({ topic, audience: [grant] }) => topic.startsWith('room/') && grant === 'everyone' })
  )))
  const [leavers, stayers] = [open('leaver'), open('stayer')]
  crowd.listeners.push(...leavers, ...stayers)
  await Promise.all([...leavers, ...stayers].map(listener => listener.isIn()))
  await crowd.grows()
  assert.equal((await ask(`${a.url}/v1/revoke`, { token: app, body: { principal: 'leaver' } })).status, 200)
  for (const { history } of leavers) history.wasRevoked()
  await until('all of them to end', () => leavers.every(({ history }) => history.end))
  await crowd.grows()
  for (const url of urls) assert.equal((await ask(`${url}/v1/poll`, { token: keyOf('leaver') })).status, 401)
  await crowd.assertWell()
  assert.ok(stayers.every(listener => !listener.isClosed))
})

test('a revocation is known to a replica that was away when it was told', async t => {
  const { replicas: [a, b] } = await start(t)
  await b.kill()
  assert.equal((await ask(`${a.url}/v1/revoke`, { token: app, body: { principal: 'leaver' } })).status, 200)
  await b.start()
  assert.equal((await ask(`${b.url}/v1/poll`, { token: keyOf('leaver') })).status, 401)
  assert.equal((await ask(`${b.url}/v1/poll`, { token: keyOf('stayer') })).status, 200)
})

test('a replica that is cut off for long lets nobody in who may have been revoked, and keeps its streams', async t => {
  const links = await Promise.all(['A', 'B'].map(async () => [await startFaultProxy(t, nats.nodes[0].port)]))
  const { replicas: [a, b] } = await start(t, { links })
  const quiet = startCurl(t, `${b.url}/v1/events?topic=nothing`, () => {}, { headers: { authorization: `Bearer ${keyOf('reader')}` }, again: false })
  await until('the quiet stream to open', () => quiet.bytes().includes('tidings.open'))
  links[1][0].cut()
  assert.equal((await ask(`${a.url}/v1/revoke`, { token: app, body: { principal: 'leaver' } })).status, 200)
  const poll = who => ask(`${b.url}/v1/poll`, { token: keyOf(who) })
  await until('B to let nobody in', async () => (await poll('leaver')).status === 503)
  const refused = await poll('stayer')
  assert.deepEqual([refused.status, refused.body.type, refused.headers.get('retry-after')], [503, 'urn:tidings:problem:cut-off', '2'], refused.text)
  assert.equal((await ask(`${b.url}/v1/tickets`, { token: keyOf('stayer'), body: {} })).status, 503)
  const stream = await ask(`${b.url}/v1/events?topic=room/*`, { token: keyOf('stayer'), headers: { accept: 'text/event-stream' } })
  assert.deepEqual([stream.status, /^retry: ?2000$/m.test(stream.text)], [200, true], stream.text)
  assert.equal((await ask(`${b.url}/v1/inspect`, { token: app })).status === 503, false, 'an operator looks after it')
  assert.equal(quiet.code(), undefined, 'who was there stays')
  links[1][0].heal()
  await until('B to let in who may', async () => (await poll('stayer')).status === 200)
  assert.equal((await poll('leaver')).status, 401)
})

test('a ticket of one replica is taken at the other, and once over both', async t => {
  const { replicas: [a, b] } = await start(t)
  const ticket = async replica => (await ask(`${replica.url}/v1/tickets`, { token: keyOf('reader'), body: {} })).body.ticket
  const use = async (replica, ticket) => (await ask(`${replica.url}/v1/poll?ticket=${ticket}`)).status
  const one = await ticket(a)
  assert.equal(await use(b, one), 200)
  assert.deepEqual([await use(a, one), await use(b, one)], [401, 401])
  for (let round = 0; round < 10; round++) {
    const raced = await ticket(a)
    assert.deepEqual((await Promise.all([a, b, a, b].map(replica => use(replica, raced)))).toSorted(), [200, 401, 401, 401])
  }
})

test('a key that the command line makes is known to both replicas, and when it is deleted to neither', async t => {
  const { replicas } = await start(t)
  const { code, out } = await run('key', 'create', '--config', replicas[0].config, '--name', 'cli', '--publish')
  assert.equal(code, 0, out)
  const [key] = /tdg_\S+/.exec(out)
  const publish = async ({ url }) => (await ask(`${url}/v1/publish`, { token: key, body: { name: 'tried', topic: 'room/1', data: 1 } })).status
  assert.deepEqual(await Promise.all(replicas.map(publish)), [200, 200])
  const list = await run('key', 'list', '--config', replicas[1].config)
  assert.match(list.out, /cli/)
  const id = list.out.split('\n').find(line => line.includes('cli')).trim().split(/\s+/)[0]
  const deleted = await run('key', 'delete', id, '--config', replicas[1].config)
  assert.equal(deleted.code, 0, deleted.out)
  for (const replica of replicas) await until(`${replica.name} to refuse the key`, async () => await publish(replica) === 401)
})

test('what is published with one Idempotency-Key at both replicas, also at once, is kept once', async t => {
  const { replicas } = await start(t)
  const urls = replicas.map(({ url }) => url)
  const crowd = await startAudience(t, { urls, publishTo: urls[0], pace: null })
  for (let n = 0; n < 20; n++) {
    const { answers: [one, other] } = await crowd.publisher.one('room/1', { urls })
    assert.equal(one.text, other.text)
  }
  const publish = url => ask(`${url}/v1/publish`, { token: app, headers: { 'idempotency-key': 'one-after-the-other' }, body: { name: 'tried', topic: 'elsewhere', data: 1 } })
  const first = await publish(urls[0])
  const again = await publish(urls[1])
  assert.deepEqual([first.status, again.status, again.headers.get('idempotency-replayed')], [200, 200, 'true'])
  assert.deepEqual(again.body, first.body)
  await crowd.hasHeard()
  await crowd.assertWell()
})

test('a job made at one replica is done at the other, watched at the first, and canceled there', async t => {
  const { replicas: [a, b] } = await start(t)
  const made = await ask(`${a.url}/v1/jobs`, { token: app, body: { kind: 'import', input: { books: 3 } } })
  assert.equal(made.status, 201, made.text)
  const { id, token } = made.body
  const told = []
  startCurl(t, `${a.url}/v1/jobs/${id}/events?token=${token}`, ({ event, data }) => { if (event?.startsWith('job.')) told.push([event, JSON.parse(data)]) }, { again: false })
  const hears = (name, fits = () => true) => until(() => `${name}; told was ${told.map(([name]) => name)}`, () => told.find(([event, job]) => event === name && fits(job)))
  await hears('job.queued')

  const claimed = await ask(`${b.url}/v1/jobs/claim`, { token: app, body: { kinds: ['import'], wait: '50s', lease: '10m' } })
  assert.equal(claimed.status, 200, claimed.text)
  const lease = claimed.body.lease
  const say = (replica, what, body = {}) => ask(`${replica.url}/v1/jobs/${id}/${what}`, { token: lease, body })
  await hears('job.running')
  assert.equal((await say(b, 'progress', { done: 1, total: 3 })).status, 200)
  await hears('job.progress', ({ progress }) => progress.done === 1)
  // A worker behind a proxy talks to any of them.
  assert.equal((await say(a, 'items?from=0', [{ title: 'One' }])).status, 200)
  assert.equal((await say(b, 'items?from=1', [{ title: 'Two' }])).status, 200)

  const heartbeat = say(b, 'heartbeat', { wait: '50s' })
  const canceling = ask(`${a.url}/v1/jobs/${id}?wait=50s`, { method: 'DELETE', token })
  assert.equal((await heartbeat).body.cancel, true)
  assert.equal((await say(b, 'canceled')).status, 200)
  assert.deepEqual([(await canceling).status, (await canceling).body.state], [200, 'canceled'])
  await hears('job.canceled')
  for (const { url } of [a, b]) {
    const { body } = await ask(`${url}/v1/jobs/${id}/result`, { token })
    assert.deepEqual([body.state, body.items], ['canceled', [{ title: 'One' }, { title: 'Two' }]])
  }
  assert.equal(told.filter(([name]) => ['job.completed', 'job.failed', 'job.canceled', 'job.lost'].includes(name)).length, 1)
})

test('of many workers at both replicas each job has one, and a worker goes on at the other when its replica is killed', async t => {
  const { replicas: [a, b] } = await start(t)
  const jobs = 20
  for (let n = 0; n < jobs; n++) assert.equal((await ask(`${[a, b][n % 2].url}/v1/jobs`, { token: app, body: { kind: 'tag' } })).status, 201)
  const claims = await Promise.all(Array.from({ length: jobs }, (_, n) => ask(`${[a, b][n % 2].url}/v1/jobs/claim`, { token: app, body: { kinds: ['tag'], wait: '50s', lease: '10m' } })))
  assert.deepEqual(claims.map(({ status }) => status), claims.map(() => 200))
  assert.equal(new Set(claims.map(({ body }) => body.job.id)).size, jobs, 'no job was given to two')
  await a.kill()
  for (const { body: { job, lease } } of claims) {
    const done = await ask(`${b.url}/v1/jobs/${job.id}/complete`, { token: lease, body: { result: 'done' } })
    assert.deepEqual([done.status, done.body.state, done.body.attempt], [200, 'completed', 1], done.text)
  }
})

test('the file of a job is received at one replica and read at the other', async t => {
  const { replicas: [a, b] } = await start(t)
  const text = 'Title,Author\n' + 'Book,Somebody\n'.repeat(50_000)
  const body = form(text)
  const made = await ask(`${a.url}/v1/jobs?kind=read`, { token: app, body })
  assert.equal(made.status, 201, made.text)
  const claimed = await ask(`${b.url}/v1/jobs/claim`, { token: app, body: { kinds: ['read'], wait: '50s', lease: '10m' } })
  assert.equal(claimed.body.job.id, made.body.id)
  const file = await ask(`${b.url}/v1/jobs/${made.body.id}/file`, { token: claimed.body.lease })
  assert.deepEqual([file.status, file.text === text], [200, true])
})
