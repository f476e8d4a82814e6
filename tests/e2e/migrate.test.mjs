// An installation that goes to replicas: `tidings migrate` moves it into NATS, killed again and again on its way.
import { after, test } from 'node:test'
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { startCurl } from './harness/curl.mjs'
import { startFaultProxy } from './harness/faults.mjs'
import { root, run, startHub } from './harness/hub.mjs'
import { ask, form } from './harness/jobs.mjs'
import { startNats } from './harness/nats.mjs'
import { until } from './harness/wait.mjs'

const binary = process.env.TIDINGS_BINARY ?? join(root, 'target/debug/tidings')
const nats = await startNats({ after })
const PAGE = 500

const auth = `
  [[auth.sources]]
  kind = "api-key"

  [[auth.sources]]
  kind = "job-token"
`
const onNats = (hub, urls = nats.urls) => `
  [broker]
  url = ${JSON.stringify(urls)}

  [broker.nats]
  hub = "${hub}"
  ${auth}
`

/** The settings of replicas as a file. */
async function settingsFile(t, text) {
  const home = await mkdtemp(join(tmpdir(), 'tidings-migrate-'))
  t.after(() => rm(home, { recursive: true, force: true }))
  const file = join(home, 'server.toml')
  await writeFile(file, text)
  return file
}

async function key(data, name, ...rights) {
  const { code, out } = await run('key', 'create', '--data', data, '--name', name, ...rights)
  assert.equal(code, 0, out)
  return /tdg_\S+/.exec(out)[0]
}

/** A hub on disk with so many events. Gives its operator's key too. */
async function startOld(t, events) {
  const hub = await startHub(t, { config: auth })
  const app = await key(hub.data, 'app', '--publish', '--operator', '--grant', '**')
  let cursor
  for (let from = 0; from < events; from += PAGE) {
    const body = Array.from({ length: PAGE }, (_, n) => ({ name: 'counted', topic: `count/${(from + n) % 7}`, audience: ['everyone'], data: { n: from + n, pad: 'x'.repeat(200) } }))
    const published = await ask(`${hub.url}/v1/publish`, { token: app, body })
    assert.equal(published.status, 200, published.text)
    if (from === Math.floor(events / PAGE / 2) * PAGE) cursor = { id: published.body.results[0].cursor, n: from }
  }
  return { hub, app, cursor }
}

async function stop(hub) {
  hub.process.kill('SIGTERM')
  await hub.ended
}

/** How far NATS has the log of a hub. */
async function reached(hub) {
  const info = JSON.parse(await nats.nodes[0].request(`$JS.API.STREAM.INFO.TIDINGS_${hub}`))
  return info.state?.last_seq ?? 0
}

test('a hub with all it keeps goes to replicas, by a move that was killed again and again', async t => {
  const events = 20_000
  const { hub: old, app, cursor } = await startOld(t, events)
  const ones = { token: app, headers: { 'idempotency-key': 'once' }, body: { name: 'once', topic: 'other/1', audience: ['everyone'], data: 1 } }
  const once_ = await ask(`${old.url}/v1/publish`, ones)
  const leaver = await key(old.data, 'leaver', '--grant', '**')
  assert.equal((await ask(`${old.url}/v1/poll`, { token: leaver })).status, 200)
  assert.equal((await ask(`${old.url}/v1/revoke`, { token: app, body: { principal: 'leaver' } })).status, 200)
  const upload = form('a,b\n'.repeat(100_000))
  upload.set('job', '{"kind":"import","id":"open"}')
  const made = await ask(`${old.url}/v1/jobs`, { token: app, body: upload })
  assert.equal(made.status, 201, made.text)
  assert.equal((await ask(`${old.url}/v1/jobs`, { token: app, body: { kind: 'scan', id: 'ended' } })).status, 201)
  const { body: { lease } } = await ask(`${old.url}/v1/jobs/claim`, { token: app, body: { kinds: ['scan'], wait: '50s', lease: '10m' } })
  const items = Array.from({ length: 50 }, (_, n) => ({ n }))
  assert.equal((await ask(`${old.url}/v1/jobs/ended/items?from=0`, { token: lease, body: items })).status, 200)
  assert.equal((await ask(`${old.url}/v1/jobs/ended/complete`, { token: lease, body: { result: { all: 50 } } })).status, 200)

  const settings = await settingsFile(t, onNats('moved'))
  const migrate = ['migrate', '--config', settings, '--data', old.data]
  const refused = await run(...migrate)
  assert.notEqual(refused.code, 0)
  assert.match(refused.out, /is running: stop it/)
  await stop(old)

  const dry = await run(...migrate, '--dry-run')
  assert.equal(dry.code, 0, dry.out)
  assert.match(dry.out, /events to move to NATS, hub "moved"/)
  assert.equal(await reached('moved'), 0)

  // By way of this process: it does not get far while nobody here looks how far it is.
  const link = await startFaultProxy(t, nats.nodes[0].port)
  link.delay(20)
  const watched = ['migrate', '--config', await settingsFile(t, onNats('moved', [`nats://127.0.0.1:${link.port}`])), '--data', old.data]
  let kills = 0
  for (let part = 1; part < 8; part++) {
    const child = spawn(binary, watched, { stdio: 'ignore' })
    const ended = once(child, 'exit')
    let isOver = false
    ended.then(() => { isOver = true })
    await until('it to be on its way', async () => isOver || await reached('moved') > part * events / 10)
    child.kill('SIGKILL')
    const [, signal] = await ended
    if (signal) kills++
  }
  assert.ok(kills >= 3, `it was killed ${kills} times`)
  const refusing = await startHub(t, { config: onNats('moved') }).then(() => 'it started', error => error.message)
  if (await reached('moved') < events) assert.match(refusing, /tidings migrate/)
  const { code, out } = await run(...migrate)
  assert.equal(code, 0, out)
  const again = await run(...migrate)
  assert.equal(again.code, 0, again.out)
  assert.match(again.out, /Nothing to do/)

  const hub = await startHub(t, { config: onNats('moved') })
  // A client that stood in the middle goes on with the next.
  const seen = []
  startCurl(t, `${hub.url}/v1/events?topic=count/*`, ({ event, data }) => { if (event === 'counted') seen.push(JSON.parse(data).n) }, { headers: { authorization: `Bearer ${app}`, 'Last-Event-ID': cursor.id } })
  await until(() => `the last event; ${seen.length} came`, () => seen.at(-1) === events - 1)
  assert.deepEqual(seen, Array.from({ length: events - 1 - cursor.n }, (_, n) => cursor.n + 1 + n))
  assert.deepEqual((await ask(`${hub.url}/v1/publish`, ones)).body, once_.body, 'it was published already')
  assert.equal((await ask(`${hub.url}/v1/poll`, { token: leaver })).status, 401)
  const next = await ask(`${hub.url}/v1/publish`, { token: app, body: { name: 'counted', topic: 'count/1', audience: ['everyone'], data: { n: events } } })
  assert.equal(next.status, 200, next.text)
  await until('what is published now', () => seen.at(-1) === events)

  assert.equal((await ask(`${hub.url}/v1/jobs/open`, { token: made.body.token })).body.state, 'queued')
  const claimed = await ask(`${hub.url}/v1/jobs/claim`, { token: app, body: { kinds: ['import'], wait: '50s', lease: '10m' } })
  const file = await ask(`${hub.url}/v1/jobs/open/file`, { token: claimed.body.lease })
  assert.equal(file.text, 'a,b\n'.repeat(100_000))
  const ended = await ask(`${hub.url}/v1/jobs/ended`, { token: app })
  assert.deepEqual([ended.body.state, ended.body.result], ['completed', { all: 50 }])
  const result = await ask(`${hub.url}/v1/jobs/ended/result`, { token: app })
  assert.deepEqual(result.body.items, items)
})

test('what can not be moved is refused with what to do', async t => {
  const { hub: old, app } = await startOld(t, PAGE)
  await stop(old)
  const settings = await settingsFile(t, onNats('other'))
  const local = await run('migrate', '--config', await settingsFile(t, auth), '--data', old.data)
  assert.match(local.out, /these settings keep the log on disk/)
  const nowhere = await run('migrate', '--config', settings, '--data', join(old.data, 'nowhere'))
  assert.match(nowhere.out, /there is no log at/)

  const other = await startHub(t, { config: onNats('other') })
  const published = await ask(`${other.url}/v1/publish`, { token: await keyOnNats(settings), body: { name: 'a', topic: 'a', data: 1 } })
  assert.equal(published.status, 200, published.text)
  await stop(other)
  const taken = await run('migrate', '--config', settings, '--data', old.data)
  assert.match(taken.out, /another log for this hub already/)

  const good = await settingsFile(t, onNats('grown'))
  assert.equal((await run('migrate', '--config', good, '--data', old.data)).code, 0)
  await old.start()
  assert.equal((await ask(`${old.url}/v1/publish`, { token: app, body: { name: 'late', topic: 'a', data: 1 } })).status, 200)
  await stop(old)
  const grown = await run('migrate', '--config', good, '--data', old.data)
  assert.match(grown.out, /a hub has written up to 501 here since: those 1 event /)
  for (const { code } of [local, nowhere, taken, grown]) assert.notEqual(code, 0)
})

async function keyOnNats(settings) {
  const { code, out } = await run('key', 'create', '--config', settings, '--name', 'other', '--publish')
  assert.equal(code, 0, out)
  return /tdg_\S+/.exec(out)[0]
}
