// The apps behind the profiles, as far as the hub asks them: who does this credential belong to?
import http from 'node:http'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import assert from 'node:assert/strict'
import { root, startHub } from './hub.mjs'

/** The key of the publishing app. */
export const PUBLISHER = { 'x-api-key': 'tdg_the-key-of-the-publishing-app' }

const PEOPLE = {
  // The media server: who holds what in which library.
  '/users/me': {
    'Bearer reader': { id: 'u1', role: 'user', libraries: [{ id: 'lib1', role: 'read' }] },
    'Bearer keeper': { id: 'u2', role: 'user', libraries: [{ id: 'lib1', role: 'admin' }, { id: 'lib2', role: 'read' }] },
    'Bearer chief': { id: 'u3', role: 'admin', libraries: [] },
  },
  // The book downloader: by key or by session.
  '/api/v1/auth/me': {
    'book-key': { id: 1, role: 'admin' },
    'bindery_session=v3.ab': { id: 2, role: 'user' },
  },
  // The parts database.
  '/api/auth/me': {
    'Bearer silo_viewer': { username: 'ann', role: 'viewer' },
    'Bearer silo_guest': { username: 'bob', role: 'guest' },
  },
}

/** A hub with all three profiles, and one stand-in for their apps. */
export async function startProfiles(t) {
  const app = http.createServer((request, response) => {
    const { authorization, cookie } = request.headers
    const person = PEOPLE[request.url]?.[authorization ?? request.headers['x-api-key'] ?? cookie]
    response.writeHead(person ? 200 : 401, { 'content-type': 'application/json' })
    response.end(JSON.stringify(person ?? { error: 'unauthorized' }))
  })
  app.listen(0, '127.0.0.1')
  await once(app, 'listening')
  const home = await mkdtemp(join(tmpdir(), 'tidings-profiles-'))
  t.after(async () => { app.closeAllConnections(); app.close(); await rm(home, { recursive: true, force: true }) })
  // The heartbeat of the parts database comes every 30 s; nobody wants to wait for it here.
  const silo = await readFile(join(root, 'profiles/silo/profile.toml'), 'utf8')
  assert.equal(silo.split('heartbeat_every = "30s"').length, 2, 'the profile says the heartbeat once')
  await writeFile(join(home, 'silo.toml'), silo.replace('heartbeat_every = "30s"', 'heartbeat_every = "1s"'))
  const url = `http://127.0.0.1:${app.address().port}`
  return startHub(t, {
    config: `
      [[auth.sources]]
      kind = "api-key"
      keys = [{ name = "app", value = "${PUBLISHER['x-api-key']}", publish = true, operator = true }]

      [[profiles]]
      name = "bindery"
      values = { app_url = "${url}" }

      [[profiles]]
      name = "redseat"
      values = { app_url = "${url}" }

      [[profiles]]
      path = "${home}/silo.toml"
      values = { app_url = "${url}" }
    `,
  })
}
