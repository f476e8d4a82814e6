// `tidings check-config` on the profiles that come with the program, with mistakes planted in them.
import { test } from 'node:test'
import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { root, run } from './harness/hub.mjs'
import { copyProfile } from './harness/profile.mjs'

const NAMES = ['bindery', 'immich', 'redseat', 'silo']

/** Per mistake: what stands in each profile, what is made of it, and what must be said. */
const MISTAKES = {
  'a misspelt key of a mount': {
    bindery: ['heartbeat_every =', 'hartbeat_every ='], immich: ['ping_interval =', 'ping_intervall ='], redseat: ['heartbeat_every =', 'hartbeat_every ='], silo: ['heartbeat_every =', 'hartbeat_every ='],
    says: /did you mean `(heartbeat_every|ping_interval)`\?/,
  },
  'a misspelt key of an event': {
    bindery: ['coalesce = { window = "250ms"', 'coalesc = { window = "250ms"'], immich: ['args = "zero"\n\n# Moved', 'arg = "zero"\n\n# Moved'], redseat: ['wrap = "Medias"', 'wrp = "Medias"'], silo: ['retain = true', 'retian = true'],
    says: /did you mean `(coalesce|args|wrap|retain)`\?/,
  },
  'a bad duration': {
    bindery: ['"25s"', '"25 sec"'], immich: ['"20s"', '"20 sec"'], redseat: ['"30s"', '"half a minute"'], silo: ['"30s"', '"30"'],
    says: /duration/,
  },
  'an unknown placeholder in a topic': {
    bindery: ['"book/{data.id}"', '"book/{date.id}"'],
    immich: ['topic = "session/{scope.session}"', 'topic = "session/{scop.session}"'],
    redseat: ['topic = "library/{data.library.id}"', 'topic = "library/{dta.library.id}"'],
    silo: ['["item/{data.part_number}", "bom"]', '["item/{dat.part_number}", "bom"]'],
    says: /must begin with/,
  },
  'an unknown placeholder in who asks': {
    bindery: ['id = "{body.id}"\ngrants', 'id = "{bdy.id}"\ngrants'],
    immich: ['session = "{body.sessionId}"', 'session = "{bdy.sessionId}"'],
    redseat: ['principal = { id = "{body.id}",', 'principal = { id = "{bdy.id}",'],
    silo: ['set-cookie', 'set-cookie'],
    says: /bdy/,
  },
  'an unknown value': {
    bindery: ['header = "${values.proxy_header}"', 'header = "${values.proxy_heder}"'],
    immich: ['${values.whoami_path}"\nheaders = []\nset = { x-api-key', '${values.whoami_pth}"\nheaders = []\nset = { x-api-key'],
    redseat: ['"${values.public_key_file}"', '"${values.public_key_fil}"'],
    silo: ['"${values.session_cookie}"', '"${values.session_cooky}"'],
    says: /did you mean `\$\{values\.(proxy_header|whoami_path|public_key_file|session_cookie)\}`\?/,
  },
  'an audience that is missing': {
    bindery: ['topic = "authors/refresh"\naudience = "role/user"', 'topic = "authors/refresh"'],
    immich: ['topic = "session/{scope.session}"\naudience = "session/{scope.session}"', 'topic = "session/{scope.session}"'],
    redseat: ['topic = "user/{data.userRef}"\naudience = "user/{data.userRef}"\nwrap = "Unwatched"', 'topic = "user/{data.userRef}"\nwrap = "Unwatched"'],
    silo: ['topic = "server"\naudience = "role/viewer"', 'topic = "server"'],
    says: /has no audience: nobody would be given it[\s\S]*give it an `audience`/,
    line: -1, // at the event's head
  },
  'a path that is taken': {
    bindery: ['# --- What is told', '[[mounts]]\ntransport = "poll"\npath = "/api/v1/events"\n# --- What is told'],
    immich: ['# --- What is told', '[[mounts]]\ntransport = "socketio"\npath = "/socket.io/"\n# --- What is told'],
    redseat: ['# --- What is told', '[[mounts]]\ntransport = "poll"\npath = "/sse"\n# --- What is told'],
    silo: ['# --- What is told', '[[mounts]]\ntransport = "poll"\npath = "/api/events"\n# --- What is told'],
    says: /is taken by the mount in line \d+/,
    line: 2,
  },
  'a path of the program itself': {
    bindery: ['path = "/api/v1/events"', 'path = "/v1/events"'], immich: ['"/api/socket.io", "/socket.io"]', '"/api/socket.io", "/v1/events"]'], redseat: ['path = "/sse"', 'path = "/metrics"'], silo: ['path = "/api/events"', 'path = "/v1/events"'],
    says: /is the program's own[\s\S]*choose another path/,
  },
  'an event that a variant misspells': {
    bindery: ['events."queue.changed".audience = [', 'events."queue.chnged".audience = ['],
    immich: ['', ''],
    redseat: ['events.medias.wrap =', 'events.medas.wrap ='],
    silo: ['', ''],
    says: /(queue\.chnged|medas)/,
  },
}

/** Mistakes in what only a mount of Socket.IO has, or must not have: profile, what stands there, what is made of it, what must be said. */
const AT_SOCKETIO = {
  'a misspelt `allow_eio3`': ['immich', 'allow_eio3 =', 'alow_eio3 =', /unknown key `alow_eio3`[\s\S]*did you mean `allow_eio3`\?/],
  'a misspelt `reject`': ['immich', 'reject = { event', 'rejct = { event', /did you mean `reject`\?/],
  'a misspelt member of `reject`': ['immich', 'reject = { event =', 'reject = { evnt =', /did you mean `event`\?/],
  'a misspelt `greetings`': ['redseat', 'greetings =', 'greetins =', /did you mean `greetings`\?/],
  'a misspelt member of a greeting': ['redseat', '"auth", data =', '"auth", dta =', /did you mean `data`\?/],
  'a misspelt `wrapped`': ['redseat', 'wrapped =', 'wraped =', /did you mean `wrapped`\?/],
  'a misspelt key in a variant': ['immich', 'polling = true', 'poling = true', /did you mean `polling`\?/],
  'a misspelt transport': ['immich', '"socketio"', '"socket.io"', /did you mean "socketio"\?/],
  'a transport that a variant misspells': ['redseat', 'where = { transport = "socketio" }', 'where = { transport = "socketoi" }', /nothing that this is laid over has these values/],
  'an unknown count of arguments': ['immich', 'args = "zero"\n\n# Moved', 'args = "zro"\n\n# Moved', /did you mean "zero"\?/],
  'a `reject` that is none': ['redseat', 'reject = "disconnect"', 'reject = "disconect"', /expected "http", "connect-error", "disconnect" or \{ event = …, data = … \}/],
  'a `reject` of a variant that is none': ['immich', 'reject = "connect-error"', 'reject = "connect_error"', /expected "http", "connect-error", "disconnect" or/],
  'a `reject` whose data is no JSON': ['immich', `data = '"unauthorized"'`, `data = 'unauthorized'`, /must be JSON in one line; a text stands in quotes: '"unauthorized"'/],
  'a greeting whose data is no JSON': ['redseat', `data = '{"server":{about}}'`, `data = '{"server":{about}'`, /must be JSON in one line, in which \{about\} stands for a value/],
  'a greeting with an unknown placeholder': ['redseat', '{"server":{about}}', '{"server":{abot}}', /in which \{about\} stands for a value/],
  'a word where a yes or no belongs': ['immich', 'polling = false', 'polling = "no"', /expected a boolean/],
  // The transport is the mount's, so these are told at its head.
  'a heartbeat, which Socket.IO has not': ['immich', 'announce = false', 'announce = false\nheartbeat_every = "30s"', /`heartbeat_every` is a setting of sse, poll and websocket; the transport of this mount is socketio/, 'head'],
  'a first ping, which Socket.IO has not': ['immich', 'announce = false', 'announce = false\npreamble = "ping"', /`preamble` is a setting of sse and poll; the transport of this mount is socketio/, 'head'],
  'an interval of Socket.IO at an event stream': ['silo', 'heartbeat_every = "30s"', 'ping_interval = "30s"', /`ping_interval` is a setting of socketio; the transport of this mount is sse/, 'head'],
  'a `reject` at an event stream': ['silo', 'requires = "role/viewer"', 'requires = "role/viewer"\nreject = "http"', /`reject` is a setting of socketio; the transport of this mount is sse/, 'head'],
  'an interval that is none': ['immich', 'ping_interval = "25s"', 'ping_interval = "0s"', /`ping_interval` is from a second to an hour/, 'head'],
}

/** Plants a mistake, and checks that it is told of in its place: `line` lines behind where it begins, or at its mount's head. */
async function assertFound(t, name, [from, to], says, line = 0) {
  const { home, text } = await copyProfile(t, name, { [from]: to })
  const lineOf = index => text.slice(0, index).split('\n').length
  const start = text.indexOf(to)
  const [at, end] = line === 'head'
    ? [lineOf(text.lastIndexOf('[[mounts]]', start)), lineOf(start + to.length)]
    : [lineOf(start) + line, lineOf(start + to.length) + line]
  const { code, out } = await run('check-config', home)
  assert.notEqual(code, 0, `${name}: ${out}`)
  assert.match(out, says, name)
  const places = [...out.matchAll(/profile\.toml:(\d+)/g)].map(([, found]) => Number(found))
  assert.ok(places.some(found => found >= at && found <= end), `${name}: planted in line ${at}–${end}, told of ${places}:\n${out}`)
}

for (const [what, { says, line, ...planted }] of Object.entries(MISTAKES)) {
  test(`check-config finds ${what}, says where and what to do`, async t => {
    for (const name of NAMES) if (planted[name][0] !== planted[name][1]) await assertFound(t, name, planted[name], says, line)
  })
}

for (const [what, [name, from, to, says, line]] of Object.entries(AT_SOCKETIO)) {
  test(`check-config finds ${what}, says where and what to do`, t => assertFound(t, name, [from, to], says, line))
}

test('check-config has nothing to say about the profiles as they are, alone and with each variant', async t => {
  const home = await mkdtemp(join(tmpdir(), 'tidings-check-'))
  t.after(() => rm(home, { recursive: true, force: true }))
  const file = join(home, 'server.toml')
  await writeFile(join(home, 'key.pem'), generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey.export({ type: 'spki', format: 'pem' }))
  // What a variant can't do without.
  const needed = { jwt: `values = { public_key_file = "${join(home, 'key.pem')}", server_id = "s" }\n` }
  for (const name of NAMES) {
    const alone = await run('check-config', join(root, 'profiles', name))
    assert.equal(alone.code, 0, alone.out)
    const text = await readFile(join(root, 'profiles', name, 'profile.toml'), 'utf8')
    for (const variant of new Set([...text.matchAll(/^\[+variants\.([\w-]+)/gm)].map(([, variant]) => variant))) {
      await writeFile(file, `[[profiles]]\nname = "${name}"\nvariants = ["${variant}"]\n${needed[variant] ?? ''}`)
      const { code, out } = await run('check-config', file)
      assert.equal(code, 0, `${name} with ${variant}: ${out}`)
    }
  }
})

test('check-config finds what is wrong where a profile is used: its name, a variant, a value, a path, a value that is needed', async t => {
  const home = await mkdtemp(join(tmpdir(), 'tidings-check-'))
  t.after(() => rm(home, { recursive: true, force: true }))
  const file = join(home, 'server.toml')
  for (const [settings, line, says] of [
    ['[[profiles]]\nname = "binderi"\n', 2, /did you mean "bindery"\?/],
    ['[[profiles]]\nname = "bindery"\nvariants = ["tenncy"]\n', 3, /did you mean "tenancy"\?/],
    ['[[profiles]]\nname = "redseat"\nvariants = ["coed"]\n', 3, /did you mean "code"\?/],
    ['[[profiles]]\nname = "silo"\nvariants = ["compat"]\n', 3, /variant/],
    ['[[profiles]]\nname = "imich"\n', 2, /did you mean "immich"\?/],
    ['[[profiles]]\nname = "immich"\nvariants = ["resume", "conect-error"]\n', 3, /did you mean "connect-error"\?/],
    ['[[profiles]]\nname = "silo"\nvalues = { app_ulr = "http://127.0.0.1:1" }\n', 3, /did you mean `?"?app_url/],
    ['[[profiles]]\nname = "redseat"\n[[profiles]]\nname = "redseat"\nbase_path = "/b"\n', 4, /share|namespace/],
    ['[[profiles]]\nname = "bindery"\nbase_path = "books"\n', 3, /must begin with `\/`/],
    ['[[profiles]]\nname = "bindery"\nbasepath = "/books"\n', 3, /did you mean `base_path`\?/],
  ]) {
    await writeFile(file, settings)
    const { code, out } = await run('check-config', file)
    assert.notEqual(code, 0, `${settings}${out}`)
    assert.match(out, says, settings)
    assert.match(out, new RegExp(`server\\.toml:${line}\\b`), `${settings}${out}`)
  }
  // A value shows where the profile uses it, also one that is missing.
  for (const [settings, place, says] of [
    ['[[profiles]]\nname = "silo"\nvalues = { app_url = "silod:8080" }\n', /silo\/profile\.toml:\d+/, /not an address[\s\S]*values\.app_url/],
    ['[[profiles]]\nname = "redseat"\nvariants = ["jwt"]\n', /redseat\/profile\.toml:\d+/, /needs the value `public_key_file`: the file with the app's RSA public key[\s\S]*values = \{ public_key_file = … \}/],
  ]) {
    await writeFile(file, settings)
    const { code, out } = await run('check-config', file)
    assert.notEqual(code, 0)
    assert.match(out, place)
    assert.match(out, says)
  }
  // Two of them are at /socket.io.
  const all = base => NAMES.map(name => `[[profiles]]\nname = "${name}"\n${name === 'redseat' ? base : ''}`).join('')
  await writeFile(file, all(''))
  const clash = await run('check-config', file)
  assert.notEqual(clash.code, 0)
  assert.match(clash.out, /redseat\/profile\.toml:\d+/)
  assert.match(clash.out, /the path \/socket\.io\/ of the profile "redseat" is taken by the profile "immich"[\s\S]*give one of the two a `base_path`/)
  await writeFile(file, all('base_path = "/media"\n'))
  const together = await run('check-config', file)
  assert.equal(together.code, 0, together.out)
})

test('check-config finds two profiles that want the same path', async t => {
  const { home } = await copyProfile(t, 'silo', { 'name = "silo"': 'name = "other"' })
  await writeFile(join(home, 'server.toml'), '[[profiles]]\nname = "silo"\n[[profiles]]\npath = "."\n')
  const { code, out } = await run('check-config', join(home, 'server.toml'))
  assert.notEqual(code, 0)
  assert.match(out, /the path \/api\/events of the profile "other" is taken by the profile "silo"/)
})
