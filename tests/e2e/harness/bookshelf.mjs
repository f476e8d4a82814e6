// The bookshelf of examples/bookshelf: started on port 0 with folders of its own, and ended by its process id.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { root } from './hub.mjs'
import { within } from './wait.mjs'

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

class Bookshelf {
  constructor(home, args) {
    this.home = home
    this.drop = join(home, 'drop')
    this.args = ['--data', join(home, 'data'), '--watch', this.drop, '--web', web, '--demo', ...args]
    this.port = 0
    this.output = ''
  }

  get url() { return `http://127.0.0.1:${this.port}` }
  get pid() { return this.process.pid }

  /** Starts the program, on the port it had before if it ran before. */
  async start() {
    const child = spawn(binary, [...this.args, '--listen', `127.0.0.1:${this.port}`], { stdio: ['ignore', 'pipe', 'pipe'] })
    this.process = child
    this.ended = once(child, 'exit')
    let printed = ''
    const listening = new Promise((resolve, reject) => {
      child.stdout.setEncoding('utf8').on('data', text => {
        printed += text
        this.output += text
        const match = /listening on http:\/\/127\.0\.0\.1:(\d+)/.exec(printed)
        if (match) resolve(Number(match[1]))
      })
      child.stderr.setEncoding('utf8').on('data', text => { this.output += text })
      child.on('error', reject)
      this.ended.then(([code, signal]) => reject(new Error(`it ended (${code ?? signal}) before it listened:\n${this.output}`)))
    })
    listening.catch(() => {})
    this.port = await within(20_000, listening, () => `the bookshelf to listen; it said:\n${this.output}`)
  }

  /** Ends it as a power cut would. */
  async kill() {
    this.process.kill('SIGKILL')
    await this.ended
  }

  /** kill -9, and up again on the same port with the same data. */
  async crash() {
    await this.kill()
    await this.start()
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
