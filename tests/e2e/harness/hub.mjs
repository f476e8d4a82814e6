// The program under test: started on port 0 with a folder of its own, and ended by its process id.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { within } from './wait.mjs'

export const root = fileURLToPath(new URL('../../..', import.meta.url))
const binary = process.env.TIDINGS_BINARY ?? join(root, 'target/debug/tidings')

/**
 * Starts a hub and waits until it listens. Without `config` it runs with `--dev`: everybody on this machine may read and
 * publish. Ends with the test. `env` goes over the settings.
 */
export async function startHub(t, { config, args = [], env = {} } = {}) {
  const home = await mkdtemp(join(tmpdir(), 'tidings-e2e-'))
  const data = join(home, 'data')
  const options = ['--data', data, ...args]
  if (config === undefined) options.unshift('--dev')
  else {
    const file = join(home, 'server.toml')
    await writeFile(file, config)
    options.unshift('--config', file)
  }
  const hub = new Hub(options, data, env)
  t.after(async () => {
    await hub.kill()
    await rm(home, { recursive: true, force: true })
  })
  await hub.start()
  return hub
}

/** Runs a command of the program to its end. */
export async function run(...args) {
  const child = spawn(binary, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  let out = ''
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', text => { out += text })
  const [code] = await once(child, 'close')
  return { code, out }
}

class Hub {
  constructor(options, data, env) {
    this.options = options
    this.data = data
    // Clients come back sooner than by default, so that the tests need not wait for them.
    this.env = { ...process.env, TIDINGS_API__RETRY: '500ms', ...env }
    this.port = 0
    this.output = ''
  }

  get url() { return `http://127.0.0.1:${this.port}` }
  get pid() { return this.process.pid }

  /** Starts the program, on the port it had before if it ran before. */
  async start() {
    const child = spawn(binary, ['serve', ...this.options, '--listen', `127.0.0.1:${this.port}`], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: this.env,
    })
    this.process = child
    this.ended = once(child, 'exit').then(([code, signal]) => ({ code, signal }))
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
      this.ended.then(({ code, signal }) => reject(new Error(`the hub ended (${code ?? signal}) before it listened:\n${this.output}`)))
    })
    listening.catch(() => {})
    this.port = await within(20_000, listening, () => `the hub to listen; it said:\n${this.output}`)
  }

  /** Ends it as a power cut would: nothing of its own runs after this. */
  async kill() {
    this.process.kill('SIGKILL')
    await this.ended
  }

  /** kill -9, and up again on the same port with the same data. */
  async crash() {
    await this.kill()
    await this.start()
  }

  /** Publishes one event or a list, perhaps to a profile; returns the answer's results. */
  async publish(events, { headers = {}, profile } = {}) {
    const response = await fetch(`${this.url}/v1/publish${profile ? `?profile=${profile}` : ''}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify(events),
    })
    const text = await response.text()
    if (!response.ok) throw new Error(`publish was refused: ${response.status} ${text}`)
    return JSON.parse(text).results
  }
}
