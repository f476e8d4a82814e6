// Two replicas, three NATS servers and nginx on this machine, under load, while one after the other is killed; and what the checker
// says of it. `make replicas` builds what this needs and runs it.
//
//   MINUTES=5          for how long
//   CHAOS=off          nothing is killed, until Ctrl-C; what you kill by hand comes back after two seconds
//   EACH=2             how many subscribers by each transport, of each of two kinds
//   PUBLISHERS=2       how many publish
//   REPLICA_EVERY=10   after so many seconds a replica is killed or drained, each in turn, and is gone for a fifth of that
//   NODE_EVERY=30      the same for a NATS node
//   REVOKE_EVERY=30    and a principal is revoked,
//   REVOKED_WITHIN=1   to be out everywhere after so many seconds
import { setTimeout as sleep } from 'node:timers/promises'
import { startAudience } from './harness/audience.mjs'
import { Board } from './harness/board.mjs'
import { Chaos, leavers } from './harness/chaos.mjs'
import { REVOKED_WITHIN } from './harness/checker.mjs'
import { clock, counted, Delays, Rate, took } from './harness/figures.mjs'
import { startNats } from './harness/nats.mjs'
import { keyOf, READERS, startReplicas } from './harness/replicas.mjs'

const minutes = amount('MINUTES', 5)
const each = amount('EACH', 2)
const publishers = amount('PUBLISHERS', 2)
const every = { replica: amount('REPLICA_EVERY', 10), node: amount('NODE_EVERY', 30), revocation: amount('REVOKE_EVERY', 30) }
const revokedWithin = 1_000 * amount('REVOKED_WITHIN', REVOKED_WITHIN / 1_000)
const isChaos = process.env.CHAOS !== 'off'

/** The transports as people call them. */
const SHOWN = { sse: 'SSE', websocket: 'WebSocket', socketio: 'Socket.IO', 'socketio that polls first': 'Socket.IO', poll: 'polling' }

const board = new Board()
const endings = []
const t = { after: ending => endings.unshift(ending) }
const over = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => {
  // The first asks for the verdict, the second for an end at once.
  if (over.signal.aborted) process.exitCode = 130, end()
  over.abort()
})

async function end() {
  // First who listens and publishes, then what they were at.
  for (const ending of endings.splice(0)) await ending()
  process.exit()
}

async function run() {
  board.say(`Starting three NATS servers, two replicas, and nginx …`)
  const nats = await startNats(t, { nodes: 3 })
  const { replicas, nginx, url } = await startReplicas(t, { nats, hub: 'hub', readers: { ...READERS, ...leavers(Math.ceil(60 * minutes / every.revocation) + 1) } })
  for (const line of addresses({ nats, replicas, nginx })) board.say(line)
  const figures = new Figures({ nats, replicas })
  const crowd = await startAudience(t, { url, each, publishers, pace: 10, revokedWithin, onEvent: data => figures.heard(data) })
  figures.crowd = crowd
  board.begin()
  if (!isChaos) for (const one of [...replicas, ...nats.nodes]) bringBack(one)
  const chaos = isChaos ? new Chaos(t, { url, replicas, nats, crowd, every, note: text => board.note(text) }) : undefined

  while (!over.signal.aborted && !chaos?.failed && (!isChaos || board.seconds < 60 * minutes)) {
    await sleep(1_000, undefined, { signal: over.signal }).catch(() => {})
    await figures.show()
  }
  return verdict({ crowd, chaos, figures })
}

function amount(name, otherwise) {
  const number = Number(process.env[name] ?? otherwise)
  if (number > 0) return number
  console.error(`${name} is a number above 0, and not ${process.env[name]}`)
  process.exit(2)
}

function addresses({ nats, replicas, nginx }) {
  return [
    '',
    `  nginx      ${board.bold(nginx.url)}  ${board.dim('where all clients and publishers go')}`,
    ...replicas.map(({ letter, url, pid }) => `  replica ${letter}  ${url}  ${board.dim(`console: ${url}/console`)}  ${board.dim(`pid ${pid}`)}`),
    ...nats.nodes.map(({ name, url, pid }) => `  NATS ${name}    ${url}  ${board.dim(`pid ${pid}`)}`),
    '',
    `  curl -N -H 'authorization: Bearer ${keyOf('app')}' '${nginx.url}/v1/events'`,
    `  curl -H 'authorization: Bearer ${keyOf('app')}' -H 'content-type: application/json' \\`,
    `       -d '{"name":"hello","topic":"hall/2","audience":["everyone"],"data":"you"}' ${nginx.url}/v1/publish`,
    `  ${board.dim("(the same key opens the consoles; Ctrl-C ends it all)")}`,
    '',
  ]
}

/** Starts again what somebody killed by hand. */
async function bringBack(one) {
  for (;;) {
    await one.ended
    if (over.signal.aborted) return
    const name = one.letter ? one.name : `NATS ${one.name}`
    board.note(`${name} was ended by somebody`)
    await one.kill()
    await sleep(2_000)
    if (over.signal.aborted) return
    await one.start()
    board.note(`${name} is back`)
  }
}

async function verdict({ crowd, chaos, figures }) {
  await figures.show()
  board.say()
  board.say('Publishing ends; waiting until everybody has heard all …')
  let failed
  try {
    await chaos?.stop()
    await crowd.assertWell()
  } catch (error) { failed = error }
  const found = crowd.judge()
  const { delays } = figures
  board.say()
  board.say(`${found.isGood ? board.good('good') : board.bad('FAULTS')}  ${found.explain(5)}`)
  if (failed && found.isGood) board.say(board.bad(`FAULT  ${failed.message}`))
  const kills = [...chaos?.kills ?? []].map(([name, count]) => `${name} ${count}×`).join(', ')
  if (kills) board.say(`      ended on the way: ${kills}; subscribers came back ${counted(figures.cameBack)} times`)
  board.say(`      from publish to delivery: half within ${took(delays.quantile(0.5))}, 99 % within ${took(delays.quantile(0.99))}, the slowest ${took(delays.worst)}`)
  if (chaos?.revocations) board.say(`      ${chaos.revocations} principals revoked, each out by all transports within ${took(Math.max(...chaos.outAfter))}`)
  return found.isGood && !failed
}

/** What is counted while it runs. */
class Figures {
  delays = new Delays()
  crowd = undefined
  #delivered = 0
  #slowest = 0
  #rates = { published: new Rate(), delivered: new Rate() }

  constructor({ nats, replicas }) { Object.assign(this, { nats, replicas }) }

  heard({ at }) {
    const delay = Date.now() - at
    this.#delivered++
    this.delays.note(delay)
    this.#slowest = Math.max(this.#slowest, delay)
  }

  get cameBack() { return this.crowd.listeners.reduce((sum, { opens }) => sum + Math.max(0, opens - 1), 0) }
  get gaps() { return this.crowd.histories.reduce((sum, { gaps }) => sum + gaps.length, 0) }

  /** How many listen by each transport: a Socket.IO client is one, however it comes. */
  #subscribers() {
    const counts = new Map()
    for (const { transport, isClosed } of this.crowd.listeners) {
      const name = SHOWN[transport]
      if (!isClosed) counts.set(name, (counts.get(name) ?? 0) + 1)
    }
    return [...counts].map(([name, count]) => `${count} ${name}`).join(', ')
  }

  async show() {
    const sum = name => this.crowd.publishers.reduce((sum, publisher) => sum + publisher[name], 0)
    const [published, again] = [sum('acknowledged'), sum('unavailable') + sum('cuts')]
    const [rate, deliveries] = [this.#rates.published.of(published), this.#rates.delivered.of(this.#delivered)]
    const slowest = this.#slowest
    this.#slowest = 0
    const [replicas, nodes] = await Promise.all([Promise.all(this.replicas.map(replicaState)), Promise.all(this.nats.nodes.map(nodeState))])
    const standing = states => states.map(({ name, word, isWell }) => `${name} ${isWell ? board.good(word) : board.bad(word)}`).join('   ')
    const { delays, cameBack, gaps } = this
    const until = isChaos ? ` of ${clock(60 * minutes)}` : ''
    board.show([
      '',
      `  ${standing(replicas)}   ${board.dim('NATS')} ${standing(nodes)}`,
      `  acknowledged ${board.bold(counted(published).padStart(9))}  ${`${counted(rate)}/s`.padStart(8)}   ${board.dim(`asked again ${counted(again)} times`)}`,
      `  delivered    ${board.bold(counted(this.#delivered).padStart(9))}  ${`${counted(deliveries)}/s`.padStart(8)}   ${board.dim(`to ${this.#subscribers()}`)}`,
      `  came back    ${board.bold(counted(cameBack).padStart(9))}   gaps ${gaps ? board.bad(gaps) : board.good(0)}`,
      `  delay        ${board.bold(took(slowest).padStart(9))}   ${board.dim(`the slowest now; in all: half ${took(delays.quantile(0.5))}, 99 % ${took(delays.quantile(0.99))}, slowest ${took(delays.worst)}`)}`,
      `  ${board.dim(`${clock(board.seconds)}${until}`)}`,
    ], [
      `published ${counted(published)} (${counted(rate)}/s)`, `delivered ${counted(this.#delivered)} (${counted(deliveries)}/s)`,
      `came back ${counted(cameBack)}`, `gaps ${gaps}`, `slowest ${took(slowest)}`, [...replicas, ...nodes].map(({ name, word }) => `${name} ${word}`).join(', '),
    ].join('  '))
  }
}

async function replicaState(replica) {
  const name = replica.letter
  if (replica.phase !== 'up') return { name, word: replica.phase }
  const ready = await replica.ready().catch(() => undefined)
  if (!ready) return { name, word: 'starting' }
  if (ready.status !== 200) return { name, word: ready.body.status }
  const streams = Object.values(ready.body.streams).reduce((sum, count) => sum + count, 0)
  return { name, word: `${streams} ${streams === 1 ? 'stream' : 'streams'}`, isWell: true }
}

async function nodeState(node) {
  const { name } = node
  if (!node.running) return { name, word: 'gone' }
  if (await node.isWell()) return { name, word: 'up', isWell: true }
  return { name, word: await node.leader() ? 'catching up' : 'no leader' }
}

try {
  process.exitCode = await run() ? 0 : 1
} catch (error) {
  board.say(board.bad(error.stack))
  process.exitCode = 2
} finally { await end() }
