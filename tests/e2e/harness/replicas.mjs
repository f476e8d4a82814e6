// Several hubs that are replicas of one, over NATS, with nginx in front of them.
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { root, run } from './hub.mjs'
import { startNginx } from './nginx.mjs'
import { freePorts } from './ports.mjs'
import { Program } from './program.mjs'
import { until, within } from './wait.mjs'

const binary = process.env.TIDINGS_BINARY ?? join(root, 'target/debug/tidings')

/** The API key of each who is known: `app` publishes and is an operator, the others listen. */
export const keyOf = name => `tdg_the-key-of-${name}-and-of-nobody-else`

/** Whoever listens, and with which grants. `leaver` and `stayer` are there to be revoked, and not to be. */
export const READERS = { reader: [], staff: ['role/staff'], leaver: [], stayer: [] }

const shown = value => JSON.stringify(value)

/**
 * Starts replicas named A, B and so on. `nats` has the addresses of its nodes as `urls`; with `links`, each replica reaches NATS
 * through its own: `links[replica]` is a list of fault proxies, one to a node. `hub` is its name within NATS: hubs of different names
 * share nothing. With `nginx: false` there is none in front.
 */
export async function startReplicas(t, { nats, hub, count = 2, links, nginx = true, broker = '', more = '', readers = READERS, env = {} }) {
  const home = await mkdtemp(join(tmpdir(), 'tidings-replicas-'))
  const ports = await freePorts(count)
  const replicas = []
  for (const [index, port] of ports.entries()) {
    const urls = links ? links[index].map(({ port }) => `nats://127.0.0.1:${port}`) : nats.urls
    const name = String.fromCharCode('A'.charCodeAt(0) + index)
    const config = join(home, `${name}.toml`)
    await writeFile(config, settings({ urls, hub, broker, more, readers }))
    replicas.push(new Replica(name, port, config, join(home, name), env))
  }
  t.after(async () => {
    await Promise.all(replicas.map(replica => replica.retire()))
    await rm(home, { recursive: true, force: true, maxRetries: 5 })
  })
  await Promise.all(replicas.map(replica => replica.start()))
  const proxy = nginx ? await startNginx(t, undefined, await site(replicas)) : undefined
  return { replicas, nginx: proxy, url: proxy?.url, hub }
}

/** Runs one that is not to start, and gives what it said and its exit code. */
export async function runReplica(t, { nats, hub }) {
  const home = await mkdtemp(join(tmpdir(), 'tidings-replica-'))
  t.after(() => rm(home, { recursive: true, force: true }))
  const config = join(home, 'server.toml')
  await writeFile(config, settings({ urls: nats.urls, hub, broker: '', more: '', readers: {} }))
  return run('serve', '--config', config, '--data', join(home, 'data'), '--listen', '127.0.0.1:0')
}

function settings({ urls, hub, broker, more, readers }) {
  const keys = Object.entries(readers).map(([name, grants]) => `{ name = ${shown(name)}, value = ${shown(keyOf(name))}, grants = ${shown(grants)} },`)
  return `
    [broker]
    url = ${shown(urls)}

    [broker.nats]
    hub = ${shown(hub)}
    ${broker}

    ${more}

    [[auth.sources]]
    kind = "api-key"
    keys = [
      { name = "app", value = ${shown(keyOf('app'))}, publish = true, operator = true, grants = ["work/*", "job/*"] },
      ${keys.join('\n      ')}
    ]

    [[auth.sources]]
    kind = "job-token"

    [[auth.sources]]
    kind = "ticket"
  `
}

class Replica extends Program {
  constructor(name, port, config, data, env) {
    const options = ['--config', config, '--data', data]
    super(`replica ${name}`, [binary, 'serve', ...options], {
      // Clients come back sooner than by default, and streams leave sooner, so that the tests need not wait for them.
      TIDINGS_API__RETRY: '200ms',
      TIDINGS_DRAIN__RETRY: '200ms',
      TIDINGS_LIMITS__DRAIN_WINDOW: '1s',
      ...env,
    })
    this.letter = name
    this.config = config
    this.port = port
    /** `starting`, `up`, `draining` or `gone`. */
    this.phase = 'gone'
  }

  async start() {
    if (this.isOver) throw new Error(`${this.name} is not started any more: the test is over`)
    this.phase = 'starting'
    await super.start()
    this.phase = 'up'
  }

  /** Kills it for good: whoever would start it again comes too late. */
  async retire() {
    this.isOver = true
    await this.kill()
  }

  async kill() {
    this.phase = 'gone'
    await super.kill()
  }

  /** SIGTERM: it sends its streams away, spread out, and ends well. */
  async drain() {
    this.phase = 'draining'
    this.process.kill('SIGTERM')
    const { code, signal } = await within(120_000, this.ended, () => `${this.name} to end; it said:\n${this.output}`)
    this.phase = 'gone'
    if (code !== 0) throw new Error(`${this.name} ended with ${code ?? signal}:\n${this.output}`)
  }

  /** What `/ready` answers. */
  async ready() {
    const answer = await fetch(`${this.url}/ready`)
    return { status: answer.status, body: await answer.json().catch(() => undefined) }
  }

  /** Waits until `/ready` answers with this status. */
  becomes(status, milliseconds) {
    return until(() => `${this.name} to answer /ready with ${status}; it said:\n${this.output.slice(-4000)}`, async () => (await this.ready()).status === status, milliseconds)
  }
}

/** The part within `http` of deploy/nginx-replicas.conf, with these replicas. */
async function site(replicas) {
  const text = await readFile(join(root, 'deploy/nginx-replicas.conf'), 'utf8')
  const own = text.slice(text.indexOf('http {') + 'http {'.length, text.lastIndexOf('}'))
  const servers = (_, options) => replicas.map(({ port }) => `server 127.0.0.1:${port} ${options};`).join('\n        ')
  // Each of the two upstreams has both replicas by their names, which are to be asked for again.
  const both = /server tidings-1:8090 (.*) resolve;\s+server tidings-2:8090 \1 resolve;/g
  return port => replaced(replaced(own, both, servers, 2), /listen 80;/g, `listen 127.0.0.1:${port};`, 1)
}

/** The text with each that fits replaced; there have to be so many. */
function replaced(text, pattern, by, count) {
  const found = text.match(pattern)?.length ?? 0
  if (found !== count) throw new Error(`deploy/nginx-replicas.conf has ${pattern} ${found} times, and not ${count}`)
  return text.replace(pattern, by)
}
