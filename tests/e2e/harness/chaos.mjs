// Kills replicas and NATS nodes in turn, while others publish and listen, and shuts principals out in between.
import { setTimeout as sleep } from 'node:timers/promises'
import { took } from './figures.mjs'
import { listen, LISTENERS } from './listeners.mjs'
import { keyOf } from './replicas.mjs'
import { until } from './wait.mjs'

/** The principals that are there to be revoked: each run of revocations takes the next. */
export const leavers = count => Object.fromEntries(Array.from({ length: count }, (_, n) => [`leaver-${n + 1}`, []]))

/**
 * Begins at once; ends with `stop`. `every` has seconds: how often a `replica` and a `node` are killed, which then are gone for a fifth
 * of that, and how often there is a `revocation`. `note(sentence)` is told of each thing that it does. `crowd` is given the listeners
 * whose principals are revoked.
 */
export class Chaos {
  /** How often each was killed or drained, by name. */
  kills = new Map()
  /** How long it took from each request until the last listener of the revoked principal was out, in ms. */
  outAfter = []
  revocations = 0
  /** Why it could not go on, if so: something did not come back. */
  failed = undefined
  #over = new AbortController()
  #loops = []

  constructor(t, { url, replicas, nats, crowd, every, note = () => {} }) {
    Object.assign(this, { t, url, replicas, nats, crowd, note })
    this.away = { replica: every.replica / 5, node: every.node / 5 }
    t.after(() => this.#over.abort())
    this.#every(every.replica, round => this.#endReplica(round))
    this.#every(every.node, round => this.#killNode(round))
    this.#every(every.revocation, round => this.#revoke(round), every.revocation / 2)
  }

  /** Kills nothing more, and waits until all is up again. */
  async stop() {
    this.#over.abort()
    await Promise.all(this.#loops)
    if (this.failed) throw this.failed
  }

  #every(seconds, step, first = seconds) {
    const loop = async () => {
      const now = () => performance.now() / 1000
      for (let round = 0, due = now() + first; ; round++) {
        await this.#pause(due - now())
        if (this.#over.signal.aborted) return
        await step(round)
        // What took long puts the next off: it is not to follow at once.
        due = Math.max(due + seconds, now() + seconds / 3)
      }
    }
    this.#loops.push(loop().catch(error => { this.failed ??= error }))
  }

  /** Sleeps, or less long if it is over. */
  async #pause(seconds) {
    await sleep(Math.max(0, seconds * 1000), undefined, { signal: this.#over.signal }).catch(() => {})
  }

  #count({ name }) { this.kills.set(name, (this.kills.get(name) ?? 0) + 1) }

  /** Each in turn: two are killed, then two are drained, and so on. */
  async #endReplica(round) {
    const replica = this.replicas[round % this.replicas.length]
    const isKill = Math.floor(round / this.replicas.length) % 2 === 0
    this.#count(replica)
    this.note(`${replica.name}: ${isKill ? 'kill -9' : 'SIGTERM'}`)
    const begin = performance.now()
    await (isKill ? replica.kill() : replica.drain())
    await this.#pause(this.away.replica)
    await replica.start()
    await replica.becomes(200)
    this.note(`${replica.name} is back, ${took(performance.now() - begin)} later`)
  }

  async #killNode(round) {
    const node = this.nats.nodes[round % this.nats.nodes.length]
    this.#count(node)
    this.note(`NATS ${node.name}: kill -9`)
    const begin = performance.now()
    await node.kill()
    await this.#pause(this.away.node)
    await node.start()
    // The next is killed only when this one has what it missed: two of three have to be there.
    await this.nats.settled()
    this.note(`NATS ${node.name} is back and has caught up, ${took(performance.now() - begin)} later`)
  }

  /** Lets somebody in by every transport, shuts them out, and waits until they are. */
  async #revoke(round) {
    const who = `leaver-${round + 1}`
    const all = Object.keys(LISTENERS).map(transport => listen(this.t, {
      transport, url: this.url, key: keyOf(who), name: `${transport} ${who}`, topics: ['room/*'],
      sees: ({ topic, audience: [grant] }) => topic.startsWith('room/') && grant === 'everyone',
    }))
    this.crowd.listeners.push(...all)
    await Promise.all(all.map(listener => listener.isIn()))
    const before = all.map(({ history }) => history.entries.length)
    await until(`${who} to hear something`, () => all.every(({ history }, index) => history.entries.length > before[index]))
    const sent = await this.#untilRevoked(who)
    for (const { history } of all) history.wasRevoked()
    await until(() => `${who} to be out; ${all.filter(({ history }) => !history.end).map(({ name }) => name)} is not`, () => all.every(({ history }) => history.end))
    this.revocations++
    const outAfter = Math.max(...all.map(({ history }) => history.end.at - sent))
    this.outAfter.push(outAfter)
    this.note(`${who} was revoked, and was out by all transports after ${took(outAfter)}`)
  }

  /** When the request was sent that revoked them. */
  #untilRevoked(who) {
    return until(`${who} to be revoked`, async () => {
      const sent = Date.now()
      const answer = await fetch(`${this.url}/v1/revoke`, {
        method: 'POST',
        headers: { authorization: `Bearer ${keyOf('app')}`, 'content-type': 'application/json' },
        body: JSON.stringify({ principal: who }),
        signal: AbortSignal.timeout(10_000),
      }).catch(() => undefined)
      if (answer && answer.status < 500 && !answer.ok) throw new Error(`the revocation was answered with ${answer.status}`)
      return answer?.ok && sent
    })
  }
}
