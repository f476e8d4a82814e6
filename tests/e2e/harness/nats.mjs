// Real NATS servers, alone or as a cluster on this machine, each with a folder of its own; ended by their process ids.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import net from 'node:net'
import { existsSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { startFaultProxy } from './faults.mjs'
import { root } from './hub.mjs'
import { freePorts } from './ports.mjs'
import { until, within } from './wait.mjs'

/** The newest server that the tests know. `debian` is 2.9.10, which hubs refuse. */
export const NEWEST = '2.15.1'

/** Where `scripts/nats-servers` puts the program of a version. */
export const natsProgram = version => join(root, '.make/nats', version, 'nats-server')

/**
 * Starts one server, or a cluster, and waits until it takes streams. Ends with the test. With `links` the nodes reach each other
 * through fault proxies (`cluster.links`); `more` are further lines of each node's configuration.
 */
export async function startNats(t, { nodes: count = 1, version = NEWEST, links = false, more = '' } = {}) {
  const program = natsProgram(version)
  if (!existsSync(program)) throw new Error(`${program} is missing: run scripts/nats-servers`)
  const home = await mkdtemp(join(tmpdir(), 'tidings-nats-'))
  const ports = await freePorts(3 * count)
  const nodes = Array.from({ length: count }, (_, index) => {
    const [client, route, monitor] = ports.slice(3 * index, 3 * index + 3)
    return new NatsNode({ program, home, name: `n${index + 1}`, client, route, monitor, more })
  })
  t.after(async () => {
    await Promise.all(nodes.map(node => node.retire()))
    await rm(home, { recursive: true, force: true, maxRetries: 5 })
  })
  const cluster = new NatsCluster(nodes)
  if (links) await cluster.link(t)
  for (const node of nodes) await node.configure(cluster.routesOf(node))
  await cluster.start()
  return cluster
}

class NatsCluster {
  /** The fault proxies between the nodes: `{from, to, proxy}`, by index, of who connects and who is connected to. */
  links = []

  constructor(nodes) { this.nodes = nodes }

  /** Where clients find it. */
  get urls() { return this.nodes.map(node => node.url) }

  /** Puts a fault proxy into the way of each node to each other one. */
  async link(t) {
    for (const [from] of this.nodes.entries()) for (const [to, node] of this.nodes.entries()) {
      if (from !== to) this.links.push({ from, to, proxy: await startFaultProxy(t, node.routePort) })
    }
  }

  routesOf(node) {
    if (this.nodes.length === 1) return undefined
    const from = this.nodes.indexOf(node)
    return this.nodes.flatMap((other, to) => {
      if (to === from) return []
      const link = this.links.find(link => link.from === from && link.to === to)
      return [`nats://127.0.0.1:${link?.proxy.port ?? other.routePort}`]
    })
  }

  /** The proxies of all links between one node and the others: `cluster.linksOf(0).forEach(link => link.blackhole())`. */
  linksOf(index) {
    return this.links.filter(({ from, to }) => from === index || to === index).map(({ proxy }) => proxy)
  }

  /** Starts all nodes that do not run, and waits until there is a leader that they know. */
  async start() {
    await Promise.all(this.nodes.filter(node => !node.running).map(node => node.start()))
    await this.settled()
  }

  /** kill -9 of all nodes, as a power cut of the whole room. */
  async kill() { await Promise.all(this.nodes.map(node => node.kill())) }

  /** The node that leads a stream, once one does. */
  leaderOf(name) {
    return until(`a leader of ${name}`, async () => {
      const { cluster } = await this.request(`$JS.API.STREAM.INFO.${name}`)
      return this.nodes.find(node => node.name === cluster?.leader)
    })
  }

  /** Deletes a stream with all that is in it, as an operator would who begins anew. */
  async deleteStream(name) {
    let answer
    // Who is choosing a leader says no for now. 404: it was deleted, and the answer got lost.
    await until(() => `NATS to delete ${name}; it answered ${JSON.stringify(answer)}`, async () => {
      answer = await this.request(`$JS.API.STREAM.DELETE.${name}`)
      return answer.success || answer.error?.code === 404
    })
  }

  /** One question to a node that runs. */
  async request(subject) { return JSON.parse(await this.nodes.find(node => node.running).request(subject)) }

  /** Waits until each node that runs is well: it knows the leader, and has what it keeps. */
  async settled() {
    const running = this.nodes.filter(node => node.running)
    await until(() => `NATS to be well; it said:\n${running.map(node => node.lastLines()).join('\n')}`, async () => {
      const well = await Promise.all(running.map(node => node.isWell()))
      return well.every(Boolean)
    })
  }
}

class NatsNode {
  output = ''
  process = undefined

  constructor({ program, home, name, client, route, monitor, more }) {
    Object.assign(this, { program, name, port: client, routePort: route, monitorPort: monitor, more })
    this.folder = join(home, name)
    this.config = join(home, `${name}.conf`)
  }

  get url() { return `nats://127.0.0.1:${this.port}` }
  get pid() { return this.process?.pid }
  get running() { return this.process !== undefined }

  async configure(routes) {
    // Clients and routes take only the addresses that they were given: what the nodes tell of each other would lead around the proxies.
    const cluster = routes && `
      cluster {
        name: tidings, listen: "127.0.0.1:${this.routePort}", routes: [${routes.map(route => `"${route}"`)}]
        cluster_advertise: "127.0.0.1:1", no_advertise: true
      }`
    await writeFile(this.config, `
      server_name: ${this.name}
      listen: "127.0.0.1:${this.port}"
      http: "127.0.0.1:${this.monitorPort}"
      jetstream { store_dir: "${this.folder}" }
      ${cluster ?? ''}
      ${this.more}
    `)
  }

  /** Starts it, with what it kept before. It is ready for connections then, though perhaps not for streams. */
  async start() {
    if (this.isOver) throw new Error(`NATS ${this.name} is not started any more: the test is over`)
    const child = spawn(this.program, ['--config', this.config], { stdio: ['ignore', 'ignore', 'pipe'] })
    this.process = child
    this.ended = once(child, 'exit')
    this.output = ''
    let ready
    const listening = new Promise((resolve, reject) => {
      ready = resolve
      child.on('error', reject)
      child.on('exit', () => reject(new Error(`NATS ${this.name} ended:\n${this.lastLines()}`)))
    })
    listening.catch(() => {})
    child.stderr.setEncoding('utf8').on('data', text => {
      this.output = (this.output + text).slice(-64_000)
      if (this.output.includes('Server is ready')) ready()
    })
    await within(60_000, listening, () => `NATS ${this.name} to listen; it said:\n${this.lastLines()}`)
  }

  /** kill -9. */
  async kill() {
    const child = this.process
    if (!child) return
    this.process = undefined
    child.kill('SIGKILL')
    await this.ended
  }

  /** Kills it for good: whoever would start it again comes too late. */
  async retire() {
    this.isOver = true
    await this.kill()
  }

  /** Whether it takes streams: its cluster has a leader, and it has caught up with what it keeps. */
  async isWell() {
    const [health, leader] = await Promise.all([this.monitor('healthz'), this.leader()])
    return health?.status === 'ok' && Boolean(leader)
  }

  /** Who leads the cluster, as far as it knows: itself if it is alone. */
  async leader() {
    const jetstream = await this.monitor('jsz')
    return jetstream?.meta_cluster ? jetstream.meta_cluster.leader : jetstream && this.name
  }

  /** What its monitoring port says, or nothing if it does not answer. */
  async monitor(page) {
    try {
      return await (await fetch(`http://127.0.0.1:${this.monitorPort}/${page}`)).json()
    } catch { return undefined }
  }

  /**
   * One question by the client protocol (docs.nats.io, NATS Protocol), without a client of its own. Where it is not answered it is asked
   * again: while nobody leads what it is about, it gets lost.
   */
  async request(subject, payload = '') {
    let said
    return until(() => `NATS to answer ${subject}; it said ${said}`, async () => {
      const socket = net.connect(this.port, '127.0.0.1')
      let isOver = false
      said = ''
      socket.setEncoding('utf8').on('data', text => { said += text }).on('error', () => {}).on('close', () => { isOver = true })
      socket.write(`CONNECT {"verbose":false}\r\nSUB answer 1\r\nPUB ${subject} answer ${Buffer.byteLength(payload)}\r\n${payload}\r\n`)
      const answer = () => {
        const [head, bytes] = /MSG answer 1 (\d+)\r\n/.exec(said) ?? []
        const body = head && said.slice(said.indexOf(head) + head.length)
        return body?.length >= Number(bytes) && body.slice(0, Number(bytes))
      }
      try {
        await until('an answer', () => answer() || isOver, 5_000)
        return answer()
      } catch { return undefined } finally { socket.destroy() }
    })
  }

  lastLines() { return this.output.split('\n').slice(-12).join('\n') }
}
