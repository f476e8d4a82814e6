// Counting events: a publisher that numbers them, and a ledger of what one client saw.
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { until } from './wait.mjs'

/**
 * Publishes 1, 2, 3… one after the other until it is stopped, through crashes and cuts. A number that got no answer is sent
 * again under the same Idempotency-Key, so that each is accepted once.
 */
export class Counter {
  constructor(hub, { name = 'counted', topic = 'count/here', event = n => ({ name, topic, data: { n } }), headers = {}, profile } = {}) {
    this.hub = hub
    this.event = event
    this.headers = headers
    this.profile = profile
    this.run = randomUUID()
    this.last = 0
    this.running = true
    this.abandoned = false
    this.refused = undefined
    this.done = this.#count()
  }

  async #count() {
    while (this.running) {
      const n = this.last + 1
      const key = `${this.run}-${n}`
      for (;;) {
        try {
          await this.hub.publish(this.event(n), { headers: { 'idempotency-key': key, ...this.headers }, profile: this.profile })
          break
        } catch (error) {
          // Down, cut, or still under way: again. Refused: the test is wrong, or the program.
          if (/refused: 4(?!09)/.test(error.message)) { this.refused = error; return }
          if (this.abandoned) return
          await new Promise(done => setTimeout(done, 10))
        }
      }
      this.last = n
      // About 200 a second: enough for every cut to fall between two, and little enough for two cores.
      await new Promise(done => setTimeout(done, 5))
    }
  }

  /** Ends it at once, also if the hub is gone: for a test that is over. */
  abandon() {
    this.running = false
    this.abandoned = true
  }

  async stop() {
    this.running = false
    await this.done
    if (this.refused) throw this.refused
    return this.last
  }
}

/** What one client saw, in the order in which it saw it. */
export class Ledger {
  numbers = []

  /** `pull` fetches the numbers from where they are noted; without it they are handed to `note`. */
  constructor(pull) { this.pull = pull }

  note(n) { this.numbers.push(n) }

  async count() {
    if (this.pull) this.numbers = await this.pull()
    return this.numbers.length
  }

  get last() { return this.numbers.at(-1) ?? 0 }

  /** Waits until `more` events have come since now. */
  async grows(more = 20, by = 60_000) {
    const goal = await this.count() + more
    await until(() => `${goal} events; ${this.numbers.length} came`, async () => await this.count() >= goal, by)
  }

  async reaches(n, by = 60_000) {
    await until(() => `number ${n}; the last was ${this.last}`, async () => { await this.count(); return this.last >= n }, by)
  }

  /** From the first that was seen on, each number came once and in order. */
  assertUnbroken() {
    const [first] = this.numbers
    const wrong = this.numbers.findIndex((n, index) => n !== first + index)
    if (wrong >= 0) {
      assert.fail(`number ${first + wrong} was due, ${this.numbers[wrong]} came, after …${this.numbers.slice(Math.max(0, wrong - 5), wrong)}`)
    }
  }
}

/** Cuts the client off in both ways while numbers are published, then checks that it missed none and saw none twice. */
export async function cutTwice({ hub, proxy, ledger, counter }) {
  await ledger.grows()
  proxy.cut()
  await ledger.grows()
  await hub.crash()
  await ledger.grows()
  proxy.cut()
  await ledger.grows()
  const last = await counter.stop()
  await ledger.reaches(last)
  ledger.assertUnbroken()
  assert.equal(ledger.last, last)
}
