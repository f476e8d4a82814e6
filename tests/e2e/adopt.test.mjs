// The pages on adopting the hub, followed word by word: settings, keys, what is posted, what listens, what a proxy is told.
import { test } from 'node:test'
import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { EventSource } from 'eventsource'
import { root, run, startHub } from './harness/hub.mjs'
import { startNginx } from './harness/nginx.mjs'
import { listen, startApp, startProfile } from './harness/profile.mjs'
import { until } from './harness/wait.mjs'

const NAMES = ['bindery', 'redseat', 'silo']
const blocks = async (page, kind) => [...(await readFile(join(root, 'docs', page), 'utf8')).matchAll(new RegExp(`\`\`\`${kind}\\n([\\s\\S]*?)\`\`\``, 'g'))].map(([, text]) => text)
const adopt = (name, kind) => blocks(`adopt/${name}.md`, kind)
/** Each line of the page that can be posted. */
const events = async name => (await adopt(name, 'json')).join('').split('\n').filter(line => line.startsWith('{"name"')).map(line => JSON.parse(line))
/** Who may see everything, at each app. */
const CHIEF = {
  bindery: { person: { id: 1, role: 'admin' }, stream: '/api/v1/events?apikey=k' },
  redseat: { person: { id: 'u1', role: 'admin', libraries: [] }, stream: '/sse?token=k' },
  silo: { person: { username: 'ann', role: 'admin' }, stream: '/api/events', headers: { Authorization: 'Bearer silo_k' } },
}

async function folder(t) {
  const home = await mkdtemp(join(tmpdir(), 'tidings-adopt-'))
  t.after(() => rm(home, { recursive: true, force: true }))
  return home
}

for (const name of NAMES) {
  test(`${name}: the settings of the page have no mistake, with each line that is commented out as well`, async t => {
    const file = join(await folder(t), 'server.toml')
    const [settings] = await adopt(name, 'toml')
    const lines = settings.split('\n')
    const offers = lines.filter(line => /^# \w+ = /.test(line))
    for (const offer of [undefined, ...offers]) {
      await writeFile(file, lines.map(line => line === offer ? line.slice(2) : line).join('\n'))
      const { code, out } = await run('check-config', file)
      assert.equal(code, 0, `${offer}: ${out}`)
    }
  })

  test(`${name}: with the key that the page makes, each event of the page is taken and told; the key is for this app alone`, async t => {
    const home = await folder(t)
    const { person, stream, headers } = CHIEF[name]
    const app = await startApp(t, () => person)
    const file = join(home, 'server.toml')
    const [settings] = await adopt(name, 'toml')
    const other = NAMES.find(other => other !== name)
    const config = `${settings.replace(/app_url = "[^"]*"/, `app_url = "${app.url}"`)}\n[[profiles]]\nname = "${other}"\n`
    const hub = await startHub(t, { config })
    await writeFile(file, `[data]\ndir = "${hub.data}"\n${config}`)

    const commands = (await adopt(name, 'sh'))[0].split('\n').filter(line => line.startsWith('tidings ')).map(line => line.split('#')[0].trim().split(/\s+/).slice(1))
    assert.deepEqual(commands.map(([first]) => first), ['check-config', 'key', 'serve'])
    const at = command => command.map(word => word === 'server.toml' ? file : word)
    assert.equal((await run(...at(commands[0]))).code, 0)
    const made = await run(...at(commands[1]))
    assert.equal(made.code, 0, made.out)
    const authorization = { authorization: `Bearer ${/tdg_\S+/.exec(made.out)[0]}` }

    const heard = await listen(t, hub.url + stream, { headers })
    const all = (await events(name)).filter(({ scope }) => !scope?.user)
    assert.ok(all.length >= 2)
    for (const event of all) await hub.publish(event, { profile: name, headers: authorization })
    const kept = all.filter(({ name, data }) => !data.progress?.userRef || data.progress.userRef === person.id)
    await until(() => `all; came ${heard.names()}`, () => heard.heard.length >= kept.length)
    assert.deepEqual(heard.names().sort(), kept.map(({ name }) => name).sort())
    const elsewhere = (await events(other))[0]
    await assert.rejects(hub.publish(elsewhere, { profile: other, headers: authorization }), /403/)
  })

  test(`${name}: the nginx lines of the page let an event through at once`, async t => {
    const { person, stream, headers } = CHIEF[name]
    const { hub, post } = await startProfile(t, name, { answer: () => person })
    const [lines] = await adopt(name, 'nginx')
    const nginx = await startNginx(t, hub, port => `server { listen 127.0.0.1:${port};\n${lines.replaceAll('127.0.0.1:8090', `127.0.0.1:${hub.port}`)}\n}`)
    const heard = await listen(t, nginx.url + stream, { headers })
    const [first] = await events(name)
    await post(first)
    await until('the event, with nothing behind it', () => heard.heard.length === 1, 3_000)
  })
}

test('bindery: what the page shows for the browser hears all, and comes back after a refusal', async t => {
  let person = { id: 2, role: 'user' }
  const { hub, post } = await startProfile(t, 'bindery', { answer: () => person, basePath: '/books' })
  const [code] = await adopt('bindery', 'ts')
  const called = [], sources = []
  class Page extends EventSource {
    constructor(path) {
      super(hub.url + path, { fetch: (url, init) => fetch(url, { ...init, headers: { ...init.headers, cookie: 'bindery_session=v3.x' } }) })
      sources.push(this)
    }
  }
  t.after(() => sources.forEach(source => source.close()))
  const note = name => (...args) => called.push([name, ...args])
  const soon = (then, milliseconds) => { called.push(['wait', milliseconds]); return setTimeout(then, 20) }
  new Function('window', 'EventSource', 'invalidateBook', 'invalidateQueue', 'setRefresh', 'invalidateAll', 'setTimeout', code)(
    { __BINDERY_BASE__: '/books' }, Page, note('book'), note('queue'), note('refresh'), note('all'), soon)
  await until('to open', () => sources[0].readyState === 1)
  const all = (await events('bindery')).filter(({ name }) => name !== 'download.progress')
  await post(all)
  await until('the three', () => called.length === 3)
  assert.deepEqual(called.map(([name]) => name).sort(), ['book', 'queue', 'refresh'])
  assert.deepEqual(called.find(([name]) => name === 'book'), ['book', 42])
  // The app is away while the hub comes back: the stream is opened and told to come back later, which EventSource does by itself.
  person = 500
  await hub.crash()
  let retries = 0, opens = 0
  sources[0].addEventListener('tidings.close', () => retries++)
  sources[0].addEventListener('tidings.open', () => opens++)
  await until('the stream to be told to come back', () => retries > 0)
  person = { id: 2, role: 'user' }
  await until('the same EventSource to be let in', () => opens > 0)
  assert.equal(sources.length, 1)
  // Logged out: that ends an EventSource for good.
  person = 401
  called.length = 0
  await hub.crash()
  await until('the page to try again by itself', () => sources.length >= 2)
  person = { id: 2, role: 'user' }
  await until('to open again', () => sources.at(-1).readyState === 1)
  assert.ok(called.some(([name]) => name === 'all'), 'what was missed is fetched')
  assert.ok(called.some(([name, wait]) => name === 'wait' && wait === 10_000))
})

test('the profile that docs/profiles.md shows has no mistake', async t => {
  const home = await folder(t)
  const [, profile] = await blocks('profiles.md', 'toml')
  await writeFile(join(home, 'profile.toml'), profile)
  const { code, out } = await run('check-config', home)
  assert.equal(code, 0, out)
})

test('the sources that docs/auth.md shows have no mistake', async t => {
  const home = await folder(t)
  for (const block of await blocks('auth.md', 'toml')) {
    await writeFile(join(home, 'server.toml'), block)
    const { code, out } = await run('check-config', join(home, 'server.toml'))
    assert.equal(code, 0, `${block}${out}`)
  }
})
