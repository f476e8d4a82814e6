// The parts database's issue, statement by statement: its events, its doors, its nginx lines, its clients.
import { test } from 'node:test'
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { root } from './harness/hub.mjs'
import { listen, startProfile } from './harness/profile.mjs'
import { startNginx } from './harness/nginx.mjs'
import { startProxy } from './harness/proxy.mjs'
import { curl, startCurl } from './harness/curl.mjs'
import { BEFORE_A_HEARTBEAT, until, within } from './harness/wait.mjs'

const PEOPLE = {
  silo_viewer: { username: 'ann', role: 'viewer' },
  silo_editor: { username: 'ed', role: 'editor' },
  silo_admin: { username: 'root', role: 'admin' },
  silo_guest: { username: 'bob', role: 'guest' },
  silo_broken: 500,
  silo_desk: { username: 'dee', role: 'viewer', workstation: 'w1' },
  silo_desks: { username: 'dan', role: 'viewer', workstation: ['w1', 'w2'] },
  other_viewer: { username: 'eve', role: 'admin' },
}
const answer = ({ url, headers }) => {
  if (url !== '/api/auth/me') return 404
  if (headers.authorization) return PEOPLE[headers.authorization.replace(/^bearer /i, '')]
  return PEOPLE[`silo_${/silo_session=(\w+)/.exec(headers.cookie ?? '')?.[1]}`]
}
const start = (t, options = {}) => startProfile(t, 'silo', { answer, ...options })
const SOON = { 'heartbeat_every = "30s"': 'heartbeat_every = "1s"' }
const as = who => ({ headers: { Authorization: `Bearer silo_${who}` } })

const STATED = [
  ['item.created', '{"part_number":"A01-0002","description":"FILAMENT WINDING UNIT ASSY","item_type":"assembly"}'],
  ['item.updated', '{"part_number":"A01-0002","revision":3}'],
  ['item.updated', '{"part_number":"A01-0002"}'],
  ['item.deleted', '{"part_number":"A01-0002"}'],
  ['revision.created', '{"part_number":"A01-0002","revision_number":3,"comment":"Updated weight"}'],
  ['server.state', '{"mode":"read-only"}'],
  ['bom.merged', '{"part_number":"A01-0002","user":"ann","summary":"s","diff":{"added":1,"removed":0,"quantity_changed":0,"unchanged_count":4},"resolve_url":"/x"}'],
]
const stated = STATED.map(([name, data]) => ({ name, data: JSON.parse(data) }))

test('viewers, editors and admins hear every event as the issue writes it; a guest is forbidden', async t => {
  const { hub, post } = await start(t)
  const streams = {}
  for (const who of ['viewer', 'editor', 'admin']) streams[who] = await listen(t, `${hub.url}/api/events`, as(who))
  await post(stated)
  for (const [who, stream] of Object.entries(streams)) {
    await until(`${who} to hear all`, () => stream.heard.length === STATED.length)
    assert.deepEqual(stream.heard.map(([name, , text]) => [name, text]), STATED, who)
    for (const [name, data] of STATED) assert.ok(stream.bytes().includes(`event: ${name}\ndata: ${data}\nid: `), 'bare data, no wrapper')
  }
  const guest = await curl(`${hub.url}/api/events`, '-H', 'Authorization: Bearer silo_guest')
  assert.deepEqual([guest.status, JSON.parse(guest.body)], [403, { error: 'forbidden' }])
})

test('the doors: a silo_ token, else the session cookie, else 401', async t => {
  const { hub } = await start(t)
  const ask = async (...headers) => {
    const stream = startCurl(t, `${hub.url}/api/events?workstation_id=w1`, () => {}, { again: false, args: ['-i', ...headers.flatMap(h => ['-H', h])] })
    await until('the answer', () => stream.bytes().includes('\r\n\r\n'))
    const bytes = stream.bytes()
    await stream.stop()
    return Number(bytes.split(' ')[1])
  }
  for (const [expected, ...headers] of [
    [200, 'Authorization: Bearer silo_viewer'],
    [200, 'authorization: bearer silo_viewer'],
    [200, 'Cookie: silo_session=viewer'],
    [200, 'Authorization: Bearer other_viewer', 'Cookie: silo_session=viewer'], // not one of its tokens: the cookie decides
    [200, 'Authorization: Basic YTpi', 'Cookie: silo_session=viewer'],
    [200, 'Accept: text/event-stream', 'Authorization: Bearer silo_viewer'],
    [406, 'Accept: application/json', 'Authorization: Bearer silo_viewer'],
    [401],
    [401, 'Authorization: Bearer other_viewer'],
    [401, 'Authorization: Bearer silo_wrong'],
    [401, 'Authorization: Bearer silo_wrong', 'Cookie: silo_session=viewer'],
    [401, 'Cookie: silo_session=wrong'],
    [403, 'Cookie: silo_session=guest'],
    [503, 'Authorization: Bearer silo_broken'],
  ]) assert.equal(await ask(...headers), expected, JSON.stringify(headers))
  const nobody = await curl(`${hub.url}/api/events`)
  assert.deepEqual(JSON.parse(nobody.body), { error: 'unauthorized' })
})

test('another name of the session cookie is a value', async t => {
  const { hub } = await start(t, { values: { session_cookie: 'sid' }, answer: ({ headers }) => headers.cookie === 'sid=1' ? PEOPLE.silo_viewer : undefined })
  await listen(t, `${hub.url}/api/events`, { headers: { Cookie: 'sid=1' } })
})

test('the heartbeat is a named event without an id, and does not move where a client resumes', async t => {
  const { hub, post } = await start(t, { changes: SOON })
  const stream = await listen(t, `${hub.url}/api/events`, as('viewer'))
  await post(stated[0])
  await until('the event, and two heartbeats behind it', () => stream.names().slice(stream.names().indexOf('item.created')).filter(name => name === 'heartbeat').length >= 2)
  // The last piece may be the beginning of one.
  const blocks = stream.bytes().split('\n\n').slice(0, -1).filter(block => block.startsWith('event: heartbeat'))
  assert.deepEqual([...new Set(blocks)], ['event: heartbeat\ndata: {}'])
  await stream.stop()
  await post(stated[1])
  const again = await listen(t, `${hub.url}/api/events`, { ...as('viewer'), lastId: stream.lastId() })
  const missed = () => again.names().filter(name => name !== 'heartbeat')
  await until('what was missed', () => missed().length)
  assert.deepEqual(missed(), ['item.updated'])
  const text = await readFile(join(root, 'profiles/silo/profile.toml'), 'utf8')
  assert.match(text, /heartbeat_every = "30s"/, 'it is every 30 s; the test waits for a shorter one')
})

test('the heartbeat comes on a stream that is never silent too', async t => {
  const { hub, post } = await start(t, { changes: SOON })
  const stream = await listen(t, `${hub.url}/api/events`, as('viewer'))
  await until('a heartbeat between the events', async () => {
    await post(stated[0])
    return stream.names().filter(name => name === 'heartbeat').length >= 2
  })
})

test('the state of the server is told on connect, and only the newest', async t => {
  const { hub, post } = await start(t)
  for (const mode of ['normal', 'read-only', 'degraded']) await post({ name: 'server.state', data: { mode } })
  const first = await listen(t, `${hub.url}/api/events`, as('viewer'))
  await until('the state', () => first.heard.length)
  await hub.crash()
  const late = await listen(t, `${hub.url}/api/events?item=A01-0002`, as('viewer'))
  await until('the state, also after a crash', () => late.heard.length)
  await post(stated[0])
  await until('an event behind it', () => late.heard.length === 2)
  assert.deepEqual([first.heard.map(([, data]) => data), late.heard[0][1]], [[{ mode: 'degraded' }], { mode: 'degraded' }])
})

test('Last-Event-ID goes on where it was; one that the log does not know is told of a gap, never left in silence', async t => {
  const { hub, post } = await start(t)
  const stream = await listen(t, `${hub.url}/api/events`, as('viewer'))
  await post(stated)
  await until('all', () => stream.heard.length === STATED.length)
  const ids = [...stream.bytes().matchAll(/^event: (?!tidings).*\n.*\nid: (.*)$/gm)].map(([, id]) => id)
  for (const [index, id] of ids.entries()) {
    const from = await listen(t, `${hub.url}/api/events`, { ...as('viewer'), lastId: id })
    const due = STATED.slice(index + 1).map(([name]) => name)
    await until(`what came after ${index}`, () => from.names().filter(name => name !== 'server.state').length >= due.filter(name => name !== 'server.state').length)
    assert.deepEqual(from.names().filter(name => name !== 'server.state'), due.filter(name => name !== 'server.state'))
    assert.ok(!from.own.some(({ event }) => event === 'tidings.gap'))
    await from.stop()
  }
  // What the app itself counted, before it had a hub; and a place that is not there yet.
  for (const id of ['17', '99999999999', 'nonsense', `${ids[0].split('-')[0]}-999999`]) {
    const lost = await listen(t, `${hub.url}/api/events`, { ...as('viewer'), lastId: id })
    await until(`a gap for ${id}`, () => lost.own.some(({ event }) => event === 'tidings.gap'))
    await lost.stop()
  }
})

test('/ready counts the clients, and says 503 while it stops; each stream then ends with a retry and no error', async t => {
  const { hub } = await start(t, { env: { TIDINGS_LIMITS__DRAIN_WINDOW: '3s', TIDINGS_DRAIN__DELAY: '12s' } })
  const ready = async () => { const { status, body } = await curl(`${hub.url}/ready`); return [status, JSON.parse(body)] }
  assert.deepEqual(await ready(), [200, { status: 'ok', sse_clients: 0 }])
  const streams = [await listen(t, `${hub.url}/api/events`, as('viewer')), await listen(t, `${hub.url}/api/events`, as('editor'))]
  assert.deepEqual(await ready(), [200, { status: 'ok', sse_clients: 2 }])
  hub.process.kill('SIGTERM')
  await until('readiness to flip', async () => (await ready())[0] === 503)
  assert.deepEqual((await within(60_000, hub.ended, 'the program to end')).code, 0)
  for (const stream of streams) {
    await stream.finished
    assert.equal(stream.code(), 0)
    assert.match(stream.bytes().slice(stream.bytes().indexOf('tidings.open')), /^retry: ?\d+$/m)
  }
})

test('the nginx lines of the issue, as they stand there, let each event through at once, and Last-Event-ID', async t => {
  const { hub, post } = await start(t)
  const lines = `location /api/events {
    proxy_pass http://silod_backend;
    proxy_buffering off;
    proxy_cache off;
    proxy_read_timeout 3600s;
    proxy_set_header Connection "";
    proxy_http_version 1.1;
}`
  const nginx = await startNginx(t, hub, port => `upstream silod_backend { server 127.0.0.1:${hub.port}; }\nserver { listen 127.0.0.1:${port};\n${lines}\n}`)
  await throughNginx(t, nginx, post)
})

test('the nginx lines of the page on adopting it work', async t => {
  const { hub, post } = await start(t)
  const page = await readFile(join(root, 'docs/adopt/silo.md'), 'utf8')
  const lines = /```nginx\n([\s\S]*?)```/.exec(page)[1].replaceAll('127.0.0.1:8090', `127.0.0.1:${hub.port}`)
  const nginx = await startNginx(t, hub, port => `server { listen 127.0.0.1:${port};\n${lines}\n}`)
  await throughNginx(t, nginx, post)
})

async function throughNginx(t, nginx, post) {
  const stream = await listen(t, `${nginx.url}/api/events`, as('viewer'))
  for (const [index, event] of stated.entries()) {
    await post(event)
    await until('it, with nothing behind it', () => stream.heard.length === index + 1, BEFORE_A_HEARTBEAT)
  }
  const ids = [...stream.bytes().matchAll(/^id: (.*)$/gm)].map(([, id]) => id)
  const again = await listen(t, `${nginx.url}/api/events`, { ...as('viewer'), lastId: ids[1] })
  await until('what was missed', () => again.names().includes('bom.merged'))
  assert.deepEqual(again.names().filter(name => name !== 'server.state'), STATED.slice(1).map(([name]) => name).filter(name => name !== 'server.state'))
  assert.equal((await curl(`${nginx.url}/api/events`)).status, 401)
}

// As the desktop client is: Python, a token, a loop of its own that hands back the last id.
const python = join(root, 'tests/py/.venv/bin/python')
const CLIENT = `
import sys, time, httpx
from httpx_sse import connect_sse
url, last, beat = sys.argv[1], "", 0.0
while True:
    headers = {"Authorization": "Bearer silo_viewer"}
    if last: headers["Last-Event-ID"] = last
    try:
        with httpx.Client(timeout=httpx.Timeout(5, read=60)) as client:
            with connect_sse(client, "GET", url, headers=headers) as source:
                for event in source.iter_sse():
                    last = event.id or last
                    print(event.event, event.data, flush=True)
    except httpx.TransportError:
        time.sleep(0.05)
`
test('the Python client hears, watches the heartbeat, and goes on after cuts and a crash', { skip: !existsSync(python) }, async t => {
  const { hub, post } = await start(t, { changes: SOON })
  const proxy = await startProxy(t, hub)
  const child = spawn(python, ['-c', CLIENT, `${proxy.url}/api/events`], { stdio: ['ignore', 'pipe', 'pipe'] })
  t.after(() => child.kill('SIGKILL'))
  let printed = '', complained = ''
  child.stdout.setEncoding('utf8').on('data', text => { printed += text })
  child.stderr.setEncoding('utf8').on('data', text => { complained += text })
  // What comes through the pipe may end within a line: the last piece is none until its end has come.
  const lines = () => printed.split('\n').slice(0, -1)
  const heard = () => lines().filter(line => /^item\./.test(line)).map(line => JSON.parse(line.slice(line.indexOf('{'))).revision)
  const updated = revision => post({ name: 'item.updated', data: { part_number: 'A01-0002', revision } })
  await until(() => `the heartbeat; it said ${printed}${complained}`, () => lines().includes('heartbeat {}'))
  await updated(1)
  await until('the first', () => heard().length === 1)
  proxy.cut()
  await updated(2)
  await until('the second', () => heard().length === 2)
  await hub.crash()
  await updated(3)
  await until('the third', () => heard().length === 3)
  assert.deepEqual(heard(), [1, 2, 3])
})

test('an event to one user is theirs alone, live and resumed; ?item= narrows to parts', async t => {
  const { hub, post } = await start(t)
  const [ann, ed] = [await listen(t, `${hub.url}/api/events`, as('viewer')), await listen(t, `${hub.url}/api/events`, as('editor'))]
  const narrow = await listen(t, `${hub.url}/api/events?item=A01-0002`, as('viewer'))
  const before = ed.lastId()
  await post([
    { name: 'edit.session_acquired', scope: { user: 'ann' }, data: { item: 'A01-0002' } },
    { name: 'edit.session_released', scope: { item: 'A01-0002' }, data: { item: 'A01-0002' } },
    { name: 'item.updated', data: { part_number: 'B07-0001' } },
    { name: 'item.updated', data: { part_number: 'A01-0002' } },
  ])
  const last = stream => until('the last', () => stream.heard.some(([name, data]) => name === 'item.updated' && data.part_number === 'A01-0002'))
  const again = await listen(t, `${hub.url}/api/events`, { ...as('editor'), lastId: before })
  for (const stream of [ann, ed, narrow, again]) await last(stream)
  assert.deepEqual(ann.names(), ['edit.session_acquired', 'edit.session_released', 'item.updated', 'item.updated'])
  assert.deepEqual(ed.names(), ann.names().slice(1))
  assert.deepEqual(again.heard, ed.heard)
  assert.deepEqual(narrow.names(), ['edit.session_released', 'item.updated'])
})

test('whatever the event, one to a user is theirs alone, and one to a workstation is of who is at it, or of nobody', async t => {
  const { hub, post } = await start(t)
  const streams = {}
  for (const who of ['viewer', 'editor', 'admin', 'desk', 'desks']) streams[who] = await listen(t, `${hub.url}/api/events`, as(who))
  // What a client says of itself is no proof.
  streams.claims = await listen(t, `${hub.url}/api/events?workstation_id=w1`, as('editor'))
  const about = { part_number: 'A01-0002', revision_number: 3, item: 'A01-0002' }
  const names = ['item.created', 'item.updated', 'item.deleted', 'revision.created', 'bom.merged', 'edit.session_acquired', 'edit.session_released']
  const scopes = [
    [{ user: 'ann' }, ['viewer']],
    [{ user: 'ann', item: 'A01-0002' }, ['viewer']],
    [{ workstation: 'w1' }, ['desk', 'desks']],
    [{ workstation_id: 'w2' }, ['desks']],
    [{ workstation: 'w1', user: 'ann' }, ['desk', 'desks']],
    [{ workstation: 'w3' }, []],
    [{ item: 'A01-0002' }, Object.keys(streams)],
  ]
  const told = names.flatMap(name => scopes.map(([scope, who]) => ({ name, scope, who })))
  await post(told.map(({ name, scope }, n) => ({ name, scope, data: { ...about, n } })))
  for (const [who, stream] of Object.entries(streams)) {
    await until(`the last for ${who}`, () => stream.heard.at(-1)?.[1].n === told.length - 1)
    assert.deepEqual(stream.heard.map(([, { n }]) => n), told.flatMap((event, n) => event.who.includes(who) ? [n] : []), who)
  }
})

test('what the database leaves empty, and revisions in letters, are told as they are', async t => {
  const { hub, post } = await start(t)
  const stream = await listen(t, `${hub.url}/api/events`, as('viewer'))
  const events = [
    ['item.created', { part_number: 'A01-0002', description: null, item_type: null }],
    ['item.updated', { part_number: 'A01-0002', revision: null }],
    ['item.updated', { part_number: 'A01-0002', revision: 'C' }],
    ['revision.created', { part_number: 'A01-0002', revision_number: 'C', comment: null }],
    ['bom.merged', { part_number: 'A01-0002', user: null, summary: null, diff: null, resolve_url: null }],
  ]
  await post(events.map(([name, data]) => ({ name, data })))
  await until('all', () => stream.heard.length === events.length)
  assert.deepEqual(stream.heard.map(([name, data]) => [name, data]), events)
})
