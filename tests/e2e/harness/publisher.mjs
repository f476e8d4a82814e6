// A publisher that goes on through cuts and refusals for now: what got no answer it sends again with the same Idempotency-Key, until
// there is one. It notes for the checker what it sent, and what was acknowledged or refused.
import { randomUUID } from 'node:crypto'
import { COUNTED } from './listeners.mjs'
import { until } from './wait.mjs'

// A request that nobody answers is sent again after this long, in ms.
const PATIENCE = 15_000

/**
 * Publishes one event after the other on its topics in turn, until it is stopped; with `pace: null` only those that are asked for
 * by `one`. `url` is a text or a function; `audience(n)` gives an event's audience; each `wrongEvery`-th is one that the hub has to refuse.
 */
export class Publisher {
  /** How often an answer was 503, and how often there was none. */
  unavailable = 0
  cuts = 0
  acknowledged = 0
  sent = 0
  #stopped = false
  #failed
  #abandoned = new AbortController()
  #numbers = new Map()

  constructor(t, { name, url, key, published, topics, pace = 10, audience = () => ['everyone'], wrongEvery = 50 }) {
    Object.assign(this, { name, url: typeof url === 'function' ? url : () => url, key, published, topics, pace, audience, wrongEvery })
    t.after(() => { this.#stopped = true; this.#abandoned.abort() })
    this.done = pace === null ? Promise.resolve() : this.#publish()
    this.done.catch(error => { this.#failed = error })
  }

  /** Publishes no more, and waits until each event has been answered. */
  async stop() {
    this.#stopped = true
    await this.done
  }

  /** Waits until so many more events have been acknowledged. */
  async grows(more = 20, by = 60_000) {
    const goal = this.acknowledged + more
    await until(() => `${goal} events of ${this.name} to be acknowledged; ${this.acknowledged} were, ${this.unavailable} answers were 503, ${this.cuts} requests were cut`, () => {
      if (this.#failed) throw this.#failed
      return this.acknowledged >= goal
    }, by)
  }

  async #publish() {
    while (!this.#stopped) {
      this.sent++
      const topic = this.topics[this.sent % this.topics.length]
      const isWrong = this.wrongEvery && this.sent % this.wrongEvery === 0
      await this.one(topic, { isWrong })
      await new Promise(done => setTimeout(done, this.pace))
    }
  }

  /** Publishes one event, and returns when it was acknowledged, or refused as it had to be. With `urls` it goes to each of them at once. */
  async one(topic, { isWrong = false, urls } = {}) {
    const series = `${this.name}:${topic}`
    const n = (this.#numbers.get(series) ?? 0) + 1
    this.#numbers.set(series, n)
    const audience = this.audience(n)
    const event = this.published.sent({ id: `${series}:${n}`, series, n, topic, audience })
    // A star is in patterns only.
    const body = JSON.stringify({ name: COUNTED, topic: isWrong ? `${topic}/*` : topic, audience, data: { id: event.id, n, at: Date.now() } })
    const key = randomUUID()
    const answers = await Promise.all((urls ?? [undefined]).map(url => this.#untilAnswered(body, key, url)))
    for (const { status, text } of answers) {
      if (status >= 400 !== isWrong) throw new Error(`${event.id} was answered with ${status}: ${text}`)
      if (isWrong) this.published.refused(event, status)
      else this.published.acknowledged(event, JSON.parse(text).results[0].cursor)
    }
    if (!isWrong) this.acknowledged++
    return { event, answers }
  }

  async #untilAnswered(body, key, url) {
    for (;;) {
      try {
        const answer = await fetch(`${url ?? this.url()}/v1/publish`, {
          method: 'POST',
          headers: { authorization: `Bearer ${this.key}`, 'content-type': 'application/json', 'idempotency-key': key },
          body,
          signal: AbortSignal.any([this.#abandoned.signal, AbortSignal.timeout(PATIENCE)]),
        })
        const text = await answer.text()
        // 409: the first is still under way.
        if (answer.status < 500 && ![409, 429].includes(answer.status)) return { status: answer.status, text }
        this.unavailable++
      } catch {
        this.cuts++
      }
      if (this.#abandoned.signal.aborted) throw new Error(`${this.name} was abandoned`)
      await new Promise(done => setTimeout(done, 50))
    }
  }
}
