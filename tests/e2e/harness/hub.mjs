// The program under test: started on a free port with a folder of its own, and ended by its process id.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Program } from './program.mjs'

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

class Hub extends Program {
  constructor(options, data, env) {
    // Clients come back sooner than by default, so that the tests need not wait for them.
    super('the hub', [binary, 'serve', ...options], { TIDINGS_API__RETRY: '500ms', ...env })
    this.data = data
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
