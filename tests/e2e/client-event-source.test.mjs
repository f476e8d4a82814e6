// The client's EventSource where code has one already: the media server's documented class and hook on it, against its own profile; and
// the parser beside another one.
import { test } from 'node:test'
import assert from 'node:assert/strict'
import { createParser } from 'eventsource-parser'
import { EventSource } from '../../packages/client/dist/event-source.js'
import { startProfile } from './harness/profile.mjs'
import { startProxy } from './harness/proxy.mjs'
import { startHub } from './harness/hub.mjs'
import { curl } from './harness/curl.mjs'
import { until } from './harness/wait.mjs'
import { SseClient } from './clients/sse-client.mjs'
import { memory, useSse } from './clients/use-sse.mjs'

const PEOPLE = {
  reader: { id: 'u1', role: 'user', libraries: [{ id: 'lib1', role: 'read' }] },
  keeper: { id: 'u3', role: 'user', libraries: [{ id: 'lib1', role: 'admin' }, { id: 'lib2', role: 'read' }] },
}
const answer = ({ headers }) => PEOPLE[headers.authorization?.replace('Bearer ', '')]
const QUICK = { 'heartbeat_every = "30s"': 'heartbeat_every = "30s"\nretry = "50ms"' }
const streams = async (hub, count) => new RegExp(`"sse":${count}\\b`).test((await curl(`${hub.url}/ready`)).body)
const medias = (library, ...all) => ({ name: 'medias', data: { library, medias: all } })

test('the documented class, with its import changed, heals cuts and a killed hub without a loss, and meets a 401 as it says', async t => {
  let known = true
  const { hub, post } = await startProfile(t, 'redseat', { answer: request => known ? answer(request) : 401, changes: QUICK })
  const proxy = await startProxy(t, hub)
  const heard = [], made = []
  class Counted extends EventSource { constructor(...args) { super(...args); made.push(this) } }
  const client = new SseClient(Counted, (name, data) => heard.push(data.Medias.medias[0].n))
  client.baseDelay = 50
  t.after(() => client.disconnect())
  let n = 0
  const publish = () => post(medias('lib1', { action: 'added', n: ++n }))
  const caught = () => until(() => `${n} events; heard were ${heard}`, () => heard.length === n)
  client.connect(`${proxy.url}/sse?token=reader`)
  await until('to open', () => client.eventSource.readyState === 1)
  await publish()
  await caught()

  proxy.cut()
  await publish()
  await caught()

  // A browser's own would come back here, but never from a proxy's 502 or a hub's 503 meanwhile.
  await hub.crash()
  await publish()
  await publish()
  await caught()
  assert.equal(made.length, 1, 'it was the same EventSource all the time')

  // Logged out: 401 closes it for good, and the client's own loop opens others, which begin with what comes next.
  known = false
  await hub.crash() // nobody is remembered
  await until('a refused client to try by itself', () => made.length >= 3)
  assert.equal(made[0].readyState, 2)
  known = true
  await until('to open again', () => client.eventSource.readyState === 1)
  await until('the stream', () => streams(hub, 1))
  await publish()
  await caught()
  assert.deepEqual(heard, [1, 2, 3, 4, 5])
  assert.equal(client.reconnectAttempts, 0)
})

test('the documented class gives up after five refusals, as it says', async t => {
  const { hub } = await startProfile(t, 'redseat', { answer })
  let made = 0
  class Counted extends EventSource { constructor(...args) { super(...args); made++ } }
  const client = new SseClient(Counted, () => {})
  client.baseDelay = 2
  t.after(() => client.disconnect())
  client.connect(`${hub.url}/sse?token=wrong`)
  await until('it to give up', () => client.reconnectAttempts === 5 && client.eventSource.readyState === 2 && made === 6)
})

test('the documented hook, with its import changed, keeps a list right through a killed hub, and opens anew for another library', async t => {
  const { hub, post } = await startProfile(t, 'redseat', { answer, changes: QUICK })
  const react = memory()
  t.after(() => react.unmount())
  // The page's own address and its login are the browser's affair.
  const made = []
  class Page extends EventSource {
    constructor(path) {
      super(new URL(path, hub.url), { token: 'keeper' })
      made.push(this)
    }
  }
  let list = [], libraries = ['lib1']
  const onEvent = (name, data) => {
    if (name !== 'medias' || !('Medias' in data)) return
    const updated = [...list]
    data.Medias.medias.forEach(({ action, media }) => {
      const index = updated.findIndex(m => m.id === media.id)
      if (action === 'Added' && index === -1) updated.push(media)
      else if (action === 'Updated' && index !== -1) updated[index] = media
      else if (action === 'Deleted' && index !== -1) updated.splice(index, 1)
    })
    list = updated
  }
  const render = () => react.render(() => useSse(react, Page, { libraries, onEvent }))
  const change = (library, ...all) => post(medias(library, ...all.map(([action, id, name]) => ({ action, media: { id, name } }))))
  render()
  await until('the hook to be connected', async () => render().isConnected && streams(hub, 1))
  await change('lib1', ['added', 'm1', 'a'], ['added', 'm2', 'b'], ['added', 'm1', 'again'])
  await until('both', () => list.length === 2)
  await hub.crash()
  await change('lib1', ['updated', 'm2', 'c'], ['updated', 'm9', 'z'], ['deleted', 'm1'])
  await until('the change', () => list.length === 1)
  assert.deepEqual(list, [{ id: 'm2', name: 'c' }])
  await until('the hook to be connected again', () => render().isConnected && !render().error)

  libraries = ['lib2']
  render()
  // The hook says that it is connected all the time. A stream that is open tells all that is published from now on.
  await until('a new stream to begin', () => made.length === 2 && made[1].readyState === 1)
  await until('the old stream to end', () => streams(hub, 1))
  assert.equal(made[0].readyState, 2)
  assert.equal(react.effects(), 2)
  await change('lib1', ['deleted', 'm2'])
  await change('lib2', ['added', 'm3', 'd'])
  await until('the other library', () => list.length === 2)
  assert.deepEqual(list.map(({ id }) => id), ['m2', 'm3'])
})

test('who is revoked is closed, with the reason, and does not come back', async t => {
  const { hub, post } = await startProfile(t, 'redseat', { answer, changes: QUICK })
  const errors = []
  const source = new EventSource(`${hub.url}/sse?token=reader`)
  t.after(() => source.close())
  source.onerror = event => errors.push([source.readyState, event.status, event.error.code])
  await until('to open', () => source.readyState === 1)
  await post(medias('lib1', { n: 1 }))
  const revoked = await fetch(`${hub.url}/v1/revoke`, { method: 'POST', headers: { 'content-type': 'application/json', 'x-api-key': 'tdg_the-key-of-the-publishing-app' }, body: '{"principal":"u1","profile":"redseat"}' })
  assert.equal(revoked.status, 200)
  await until('the end', () => source.readyState === 2)
  assert.deepEqual(errors, [[2, 4002, 'forbidden']])
})

test('the parser gives what npm eventsource-parser gives, for what a hub sends, however it was cut', async t => {
  const hub = await startHub(t)
  const texts = ['', 'ü🦊', 'a\nb', 'x'.repeat(500), '\u2028', '{"a":[1,2]}']
  await hub.publish(Array.from({ length: 300 }, (_, n) => ({ name: `kind.${n % 7}`, topic: `t/${n}`, data: texts[n % texts.length] })))
  const response = await fetch(`${hub.url}/v1/events?cursor=earliest&meta=true`, { headers: { accept: 'text/event-stream' } })
  let bytes = Buffer.alloc(0)
  for await (const chunk of response.body) {
    bytes = Buffer.concat([bytes, chunk])
    if (bytes.toString().split('event: kind.').length > 300 && bytes.toString().endsWith('\n\n')) break
  }
  const { heard: theirs, comments } = byOther(bytes)
  assert.ok(theirs.length >= 300, `${theirs.length} events, ${comments} comments`)
  for (const cut of [1, 7, 100, 4096, bytes.length]) assert.deepEqual(await byOurs(bytes, cut, new Set(theirs.map(({ name }) => name))), theirs, `pieces of ${cut}`)
})

/** What the other parser makes of it. */
function byOther(bytes) {
  const heard = []
  let comments = 0, id = ''
  const parser = createParser({
    onEvent(event) { id = event.id ?? id; heard.push({ name: event.event ?? 'message', data: event.data, id }) },
    onComment() { comments++ },
  })
  parser.feed(bytes.toString())
  return { heard, comments }
}

/** What ours makes of it, where the network cuts it into pieces of this size. */
async function byOurs(bytes, size, names) {
  const heard = []
  let ended
  const over = new Promise(done => { ended = done })
  let asked = 0
  const source = new EventSource('http://hub.example/', {
    fetch: async () => {
      if (asked++) return new Response(null, { status: 204 })
      let at = 0
      return new Response(new ReadableStream({
        pull(controller) {
          if (at < bytes.length) controller.enqueue(new Uint8Array(bytes.subarray(at, at += size)))
          else controller.close()
        },
      }), { headers: { 'content-type': 'text/event-stream' } })
    },
  })
  for (const name of names) source.addEventListener(name, event => heard.push({ name, data: event.data, id: event.lastEventId }))
  source.onerror = ended
  await over
  source.close()
  return heard
}
