// `tidings check-config` on the profiles that come with the program, with mistakes planted in them.
import { test } from 'node:test'
import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { root, run } from './harness/hub.mjs'
import { copyProfile } from './harness/profile.mjs'

const NAMES = ['bindery', 'redseat', 'silo']

/** Per mistake: what stands in each profile, what is made of it, and what must be said. */
const MISTAKES = {
  'a misspelt key of a mount': {
    bindery: ['heartbeat_every =', 'hartbeat_every ='], redseat: ['heartbeat_every =', 'hartbeat_every ='], silo: ['heartbeat_every =', 'hartbeat_every ='],
    says: /did you mean `heartbeat_every`\?/,
  },
  'a misspelt key of an event': {
    bindery: ['coalesce = { window = "250ms"', 'coalesc = { window = "250ms"'], redseat: ['wrap = "Medias"', 'wrp = "Medias"'], silo: ['retain = true', 'retian = true'],
    says: /did you mean `(coalesce|wrap|retain)`\?/,
  },
  'a bad duration': {
    bindery: ['"25s"', '"25 sec"'], redseat: ['"30s"', '"half a minute"'], silo: ['"30s"', '"30"'],
    says: /duration/,
  },
  'an unknown placeholder in a topic': {
    bindery: ['"book/{data.id}"', '"book/{date.id}"'],
    redseat: ['topic = "library/{data.library.id}"', 'topic = "library/{dta.library.id}"'],
    silo: ['["item/{data.part_number}", "bom"]', '["item/{dat.part_number}", "bom"]'],
    says: /must begin with/,
  },
  'an unknown placeholder in who asks': {
    bindery: ['id = "{body.id}"\ngrants', 'id = "{bdy.id}"\ngrants'],
    redseat: ['principal = { id = "{body.id}",', 'principal = { id = "{bdy.id}",'],
    silo: ['set-cookie', 'set-cookie'],
    says: /bdy/,
  },
  'an unknown value': {
    bindery: ['header = "${values.proxy_header}"', 'header = "${values.proxy_heder}"'],
    redseat: ['"${values.public_key_file}"', '"${values.public_key_fil}"'],
    silo: ['"${values.session_cookie}"', '"${values.session_cooky}"'],
    says: /did you mean `\$\{values\.(proxy_header|public_key_file|session_cookie)\}`\?/,
  },
  'an audience that is missing': {
    bindery: ['topic = "authors/refresh"\naudience = "role/user"', 'topic = "authors/refresh"'],
    redseat: ['topic = "user/{data.userRef}"\naudience = "user/{data.userRef}"\nwrap = "Unwatched"', 'topic = "user/{data.userRef}"\nwrap = "Unwatched"'],
    silo: ['topic = "server"\naudience = "role/viewer"', 'topic = "server"'],
    says: /has no audience: nobody would be given it[\s\S]*give it an `audience`/,
    line: -1, // at the event's head
  },
  'a path that is taken': {
    bindery: ['# --- What is told', '[[mounts]]\ntransport = "poll"\npath = "/api/v1/events"\n# --- What is told'],
    redseat: ['# --- What is told', '[[mounts]]\ntransport = "poll"\npath = "/sse"\n# --- What is told'],
    silo: ['# --- What is told', '[[mounts]]\ntransport = "poll"\npath = "/api/events"\n# --- What is told'],
    says: /is taken by the mount in line \d+/,
    line: 2,
  },
  'a path of the program itself': {
    bindery: ['path = "/api/v1/events"', 'path = "/v1/events"'], redseat: ['path = "/sse"', 'path = "/metrics"'], silo: ['path = "/api/events"', 'path = "/v1/events"'],
    says: /is the program's own[\s\S]*choose another path/,
  },
  'an event that a variant misspells': {
    bindery: ['events."queue.changed".audience = [', 'events."queue.chnged".audience = ['],
    redseat: ['events.medias.wrap =', 'events.medas.wrap ='],
    silo: ['', ''],
    says: /(queue\.chnged|medas)/,
  },
}

for (const [what, { says, line = 0, ...planted }] of Object.entries(MISTAKES)) {
  test(`check-config finds ${what}, says where and what to do`, async t => {
    for (const name of NAMES) {
      const [from, to] = planted[name]
      if (from === to) continue
      const { home, file, text } = await copyProfile(t, name, { [from]: to })
      const before = text.slice(0, text.indexOf(to))
      const at = before.split('\n').length + line
      const { code, out } = await run('check-config', home)
      assert.notEqual(code, 0, `${name}: ${out}`)
      assert.match(out, says, name)
      const places = [...out.matchAll(/profile\.toml:(\d+)/g)].map(([, found]) => Number(found))
      const end = at + to.split('\n').length - 1
      assert.ok(places.some(found => found >= at && found <= end), `${name}: planted in line ${at}–${end}, told of ${places}:\n${out}`)
      assert.ok(out.includes(file) || out.includes('profile.toml:'), out)
    }
  })
}

test('check-config has nothing to say about the profiles as they are, alone and with each variant', async () => {
  for (const name of NAMES) {
    const { code, out } = await run('check-config', join(root, 'profiles', name))
    assert.equal(code, 0, out)
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
  await writeFile(file, NAMES.map(name => `[[profiles]]\nname = "${name}"\n`).join(''))
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
