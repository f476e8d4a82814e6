// Who may listen: keys, tickets and revocation, as a page and a script meet them.
import { test } from 'node:test'
import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { EventSource } from 'eventsource'
import { startHub } from './harness/hub.mjs'
import { curl, startCurl } from './harness/curl.mjs'
import { until } from './harness/wait.mjs'

const key = name => ({ 'x-api-key': `the-key-of-${name}-and-of-nobody-else` })
const config = `
  [[auth.sources]]
  kind = "api-key"
  keys = [
    { name = "app", value = "${key('app')['x-api-key']}", publish = true, operator = true },
    { name = "reader", value = "${key('reader')['x-api-key']}", grants = ["book/42/read"] },
    { name = "limited", value = "${key('limited')['x-api-key']}", publish = { topics = ["job/*"], names = ["progress"] } },
  ]
  [[auth.sources]]
  kind = "ticket"
`

const ask = (hub, path, who, body) => fetch(hub.url + path, {
  method: 'POST',
  headers: { ...who, 'content-type': 'application/json' },
  body: JSON.stringify(body),
})

test('a page that opens its stream with a ticket comes back with another one and misses nothing', async t => {
  const hub = await startHub(t, { config })
  const numbers = []
  let source, opens = 0, running = true
  t.after(() => { running = false; source?.close() })
  // The loop of docs/auth.md.
  async function listen(lastId = '') {
    if (!running) return
    let ticket
    try { ({ ticket } = await (await ask(hub, '/v1/tickets', key('reader'), {})).json()) } catch { return void setTimeout(() => listen(lastId), 20) }
    source = new EventSource(`${hub.url}/v1/events?ticket=${ticket}&last_event_id=${lastId}`)
    const seen = event => { lastId = event.lastEventId || lastId }
    source.addEventListener('tidings.open', event => { seen(event); opens++ })
    source.addEventListener('counted', event => { seen(event); numbers.push(JSON.parse(event.data).n) })
    source.onerror = () => { source.close(); setTimeout(() => listen(lastId), 20) }
  }
  listen()
  await until('the stream to open', () => opens >= 1)
  const event = n => ({ name: 'counted', topic: 'book/42', audience: ['book/42/read'], data: { n } })
  await hub.publish(event(1), { headers: key('app') })
  await until('the first', () => numbers.length === 1)
  await hub.crash()
  await hub.publish([event(2), event(3)], { headers: key('app') })
  await until('the rest', () => numbers.length >= 3)
  assert.deepEqual(numbers, [1, 2, 3])
})

test('a ticket works once', async t => {
  const hub = await startHub(t, { config })
  const { ticket } = await (await ask(hub, '/v1/tickets', key('reader'), {})).json()
  assert.equal((await fetch(`${hub.url}/v1/poll?ticket=${ticket}`)).status, 200)
  assert.equal((await fetch(`${hub.url}/v1/poll?ticket=${ticket}`)).status, 401)
})

test('a revoked principal\'s stream ends at once, says why, and is not let in again', async t => {
  const hub = await startHub(t, { config })
  const stream = startCurl(t, `${hub.url}/v1/events`, () => {}, { headers: key('reader'), again: false })
  const other = startCurl(t, `${hub.url}/v1/events`, () => {}, { headers: key('app'), again: false })
  await until('both streams to open', () => [stream, other].every(s => s.bytes().includes('tidings.open')))
  assert.equal((await ask(hub, '/v1/revoke', key('reader'), { principal: 'app' })).status, 403)
  assert.equal((await ask(hub, '/v1/revoke', key('app'), { principal: 'reader' })).status, 200)
  await until('the stream to end', () => stream.code() !== undefined)
  assert.match(stream.bytes(), /event: tidings\.close\ndata: .*"revoked".*"reconnect":false/)
  await hub.publish({ name: 'said', topic: 'later', audience: ['everyone'] }, { headers: key('app') })
  await until('the other stream to go on', () => other.bytes().includes('event: said'))
  assert.equal(other.code(), undefined)
  assert.equal((await curl(`${hub.url}/v1/events`, '-H', `X-Api-Key: ${key('reader')['x-api-key']}`)).status, 401)
})

test('u1 of one app is shut out and u1 of another stays, also after a restart', async t => {
  const home = await mkdtemp(join(tmpdir(), 'tidings-two-apps-'))
  t.after(() => rm(home, { recursive: true, force: true }))
  for (const app of ['shelf', 'garden']) {
    await writeFile(join(home, `${app}.toml`), `
      name = "${app}"
      [[auth.sources]]
      kind = "api-key"
      keys = [{ name = "u1", value = "${key('u1')['x-api-key']}", grants = ["role/reader"] }]
      [[mounts]]
      transport = "sse"
      path = "/${app}"
      [events.changed]
      topic = "things"
      audience = "role/reader"
    `)
  }
  const profiles = `[[profiles]]\npath = "${home}/shelf.toml"\n[[profiles]]\npath = "${home}/garden.toml"`
  const hub = await startHub(t, { config: `${config}\n${profiles}` })
  const open = app => startCurl(t, `${hub.url}/${app}`, () => {}, { headers: key('u1'), again: false })
  const [shelf, garden] = [open('shelf'), open('garden')]
  await until('both streams to open', () => [shelf, garden].every(s => s.bytes().includes('tidings.open')))
  const revoke = profile => ask(hub, '/v1/revoke', key('app'), { principal: 'u1', profile })
  assert.equal((await revoke('atelier')).status, 404)
  assert.equal((await revoke('shelf')).status, 200)
  await until('the stream to end', () => shelf.code() !== undefined)
  assert.match(shelf.bytes(), /"revoked"/)
  const status = async app => (await curl(`${hub.url}/${app}`, '-I', '-H', `X-Api-Key: ${key('u1')['x-api-key']}`)).status
  for (const when of ['at once', 'after a restart']) {
    assert.deepEqual([await status('shelf'), await status('garden')], [401, 200], when)
    if (when === 'at once') {
      await hub.publish({ name: 'changed', data: {} }, { headers: key('app'), profile: 'garden' })
      await until('the other app\'s stream to go on', () => garden.bytes().includes('event: changed'))
      assert.equal(garden.code(), undefined)
      await hub.crash()
    }
  }
})

test('a key publishes only what it may, and the refusal says what that was', async t => {
  const hub = await startHub(t, { config })
  const publish = event => ask(hub, '/v1/publish', key('limited'), event)
  assert.equal((await publish({ name: 'progress', topic: 'job/42' })).status, 200)
  for (const event of [{ name: 'progress', topic: 'book/42' }, { name: 'done', topic: 'job/42' }]) {
    const refused = await publish(event)
    assert.equal(refused.status, 403)
    assert.match((await refused.json()).detail, /limited may not publish/)
  }
  assert.equal((await ask(hub, '/v1/publish', {}, { name: 'progress', topic: 'job/42' })).status, 401)
})

test('an event goes only to who holds a grant of its audience, live and in replay', async t => {
  const hub = await startHub(t, { config })
  const seen = []
  const stream = startCurl(t, `${hub.url}/v1/events`, ({ event, data }) => { if (event === 'counted') seen.push(JSON.parse(data).n) }, { headers: key('reader') })
  await until('the stream to open', () => stream.bytes().includes('tidings.open'))
  const event = (n, audience) => ({ name: 'counted', topic: 'book/42', audience, data: { n } })
  const events = [event(1, ['book/42/read']), event(2, ['book/7/read']), event(3, ['role/admin', 'book/42/read'])]
  await hub.publish(events, { headers: key('app') })
  await until('what the reader may see', () => seen.length >= 2)
  const replayed = await (await fetch(`${hub.url}/v1/poll?cursor=earliest`, { headers: key('reader') })).json()
  assert.deepEqual(seen, [1, 3])
  assert.deepEqual(replayed.events.map(({ data }) => data.n), [1, 3])
})
