// A TCP proxy for one link that behaves as networks do when they fail. One instance stands for one link: what it is told holds for
// the connections that are open and for those to come.
import { once } from 'node:events'
import net from 'node:net'

/** The two directions: from who connected, and back. */
export const [UP, DOWN] = ['up', 'down']

// What is swallowed is kept, as TCP would send it again once the network is back. A link that has swallowed this much is cut.
const MOST_HELD = 64 << 20

/** Starts a proxy to a port of this machine. Ends with the test. */
export async function startFaultProxy(t, port) {
  const proxy = new FaultProxy(port)
  t.after(() => proxy.close())
  await proxy.listen()
  return proxy
}

class FaultProxy {
  #links = new Set()
  #server
  #isCut = false
  #held = new Set()
  #delay = 0

  constructor(upstream) { this.upstream = upstream }

  get port() { return this.#server.address().port }
  get url() { return `http://127.0.0.1:${this.port}` }
  /** How many connections there are. */
  get connections() { return this.#links.size }

  async listen() {
    this.#server = net.createServer({ allowHalfOpen: true, noDelay: true }, client => {
      if (this.#isCut) return client.resetAndDestroy()
      const link = new Link(client, net.connect({ port: this.upstream, host: '127.0.0.1', allowHalfOpen: true, noDelay: true }), this.#state())
      this.#links.add(link)
      link.ended = () => this.#links.delete(link)
    })
    this.#server.listen(0, '127.0.0.1')
    await once(this.#server, 'listening')
  }

  /** Resets what is open, and refuses what comes, until it is healed. */
  cut() {
    this.#isCut = true
    this.reset()
  }

  /** Resets what is open, once: who comes back is let through. */
  reset() { for (const link of this.#links) link.reset() }

  /** Everything arrives, each way so many milliseconds later. */
  delay(milliseconds) {
    this.#delay = milliseconds
    this.#tell()
  }

  /** One direction is swallowed and the other passes: `UP` is what comes from who connected. Nothing closes. */
  halfOpen(direction = UP) { this.#hold([direction]) }

  /** Nothing passes and nothing closes, not even an end. */
  blackhole() { this.#hold([UP, DOWN]) }

  /** All is well again. What was swallowed arrives, as TCP would have sent it again. */
  heal() {
    this.#isCut = false
    this.#delay = 0
    this.#hold([])
  }

  close() {
    this.#server.close()
    this.cut()
  }

  #hold(directions) {
    this.#held = new Set(directions)
    this.#tell()
  }

  #state() { return { held: this.#held, delay: this.#delay } }
  #tell() { for (const link of this.#links) link.obey(this.#state()) }
}

/** One connection, which is two. */
class Link {
  constructor(client, upstream, state) {
    this.sockets = [client, upstream]
    this.ways = { [UP]: new Way(client, upstream, this), [DOWN]: new Way(upstream, client, this) }
    this.obey(state)
  }

  obey({ held, delay }) {
    for (const [direction, way] of Object.entries(this.ways)) way.obey({ held: held.has(direction), delay })
  }

  reset() {
    for (const way of Object.values(this.ways)) way.stop()
    for (const socket of this.sockets) socket.resetAndDestroy()
    this.ended()
  }

  /** Both ways have come to their end. */
  endIfOver() {
    if (!Object.values(this.ways).every(way => way.over)) return
    for (const socket of this.sockets) socket.destroy()
    this.ended()
  }

  ended() {}
}

/** The bytes of one direction, with the end or the reset behind them, in their order and each at its time. */
class Way {
  over = false
  #queue = []
  #heldBytes = 0
  #state = { held: false, delay: 0 }
  #timer
  #isFull = false

  constructor(from, to, link) {
    Object.assign(this, { from, to, link })
    from.on('data', bytes => this.#take({ bytes }))
    from.on('end', () => this.#take({ end: true }))
    from.on('error', () => this.#take({ reset: true }))
    to.on('drain', () => { this.#isFull = false; from.resume(); this.#pass() })
  }

  obey(state) {
    this.#state = state
    this.#pass()
  }

  stop() {
    clearTimeout(this.#timer)
    this.#queue = []
    this.over = true
  }

  #take(piece) {
    if (this.over) return
    piece.due = Date.now() + this.#state.delay
    this.#queue.push(piece)
    this.#heldBytes += piece.bytes?.length ?? 0
    if (this.#heldBytes > MOST_HELD) this.link.reset()
    else this.#pass()
  }

  #pass() {
    clearTimeout(this.#timer)
    while (this.#queue.length && !this.#state.held && !this.#isFull && !this.over) {
      const wait = this.#queue[0].due - Date.now()
      // Healed, it does not owe the delay any more.
      if (wait > 0 && this.#state.delay) {
        this.#timer = setTimeout(() => this.#pass(), wait)
        return
      }
      this.#give(this.#queue.shift())
    }
  }

  #give({ bytes, end }) {
    if (bytes) {
      this.#heldBytes -= bytes.length
      if (!this.to.write(bytes)) {
        this.#isFull = true
        // With a delay the bytes on their way are not those that the reader holds up.
        this.from.pause()
      }
    } else if (end) {
      this.over = true
      this.to.end()
      this.link.endIfOver()
    } else this.link.reset()
  }
}
