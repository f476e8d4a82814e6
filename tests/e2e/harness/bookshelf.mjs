// The bookshelf of examples/bookshelf: started on a free port with folders of its own, and ended by its process id.
import { mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { root } from './hub.mjs'
import { Program } from './program.mjs'

const binary = process.env.BOOKSHELF_BINARY ?? join(root, 'target/debug/bookshelf')
const web = join(root, 'examples/bookshelf/web/dist')

/** Starts a bookshelf with demo books and waits until it listens. Ends with the test. */
export async function startBookshelf(t, { args = [] } = {}) {
  const home = await mkdtemp(join(tmpdir(), 'tidings-bookshelf-'))
  const shelf = new Bookshelf(home, args)
  t.after(async () => {
    await shelf.kill()
    await rm(home, { recursive: true, force: true })
  })
  await mkdir(shelf.drop, { recursive: true })
  await shelf.start()
  return shelf
}

class Bookshelf extends Program {
  constructor(home, args) {
    const drop = join(home, 'drop')
    super('the bookshelf', [binary, '--data', join(home, 'data'), '--watch', drop, '--web', web, '--demo', ...args])
    this.home = home
    this.drop = drop
  }

  /** Puts a file into the watch folder in one step, as a mover does. */
  async put(name, bytes) {
    const whole = join(this.home, name)
    await writeFile(whole, bytes)
    await rename(whole, join(this.drop, name))
  }

  /** A session: asks the app as this user. */
  async login(name) {
    const response = await fetch(`${this.url}/api/v1/auth/login`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ name, password: name }),
    })
    if (!response.ok) throw new Error(`login of ${name}: ${response.status} ${await response.text()}`)
    const cookie = response.headers.getSetCookie()[0].split(';')[0]
    return async (method, path, body) => {
      const answer = await fetch(`${this.url}/api/v1/${path}`, {
        method,
        headers: { cookie, ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      })
      if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`)
      return answer.status === 204 ? undefined : answer.json()
    }
  }
}
