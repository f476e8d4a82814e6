import type { TopicRate, TopicsAnswer } from './model.js'

/** Looks that are remembered: a minute of them, one each 2 s. */
const ROOM = 30

/** How the rates of topics went, from looking at their counts again and again. */
export class Pulse {
  #seen = new Map<string, { events: number; at: number; rates: number[] }>()
  #last: TopicsAnswer | undefined

  /** Notes an answer; the same one again is noted once. `at` in ms. */
  look(answer: TopicsAnswer, at: number): void {
    if (answer === this.#last) return
    // Counts of another run of the hub can't be compared.
    if (this.#last && this.#last.since !== answer.since) this.#seen.clear()
    this.#last = answer
    for (const topic of answer.topics) {
      const key = name(topic)
      const seen = this.#seen.get(key)
      const passed = seen ? (at - seen.at) / 1000 : 0
      const rates = seen?.rates ?? []
      rates.push(seen && passed > 0 ? Math.max(0, (topic.events - seen.events) / passed) : topic.rate)
      if (rates.length > ROOM) rates.shift()
      this.#seen.set(key, { events: topic.events, at, rates })
    }
  }

  /** Rates per second, the newest last. */
  of(topic: TopicRate): readonly number[] {
    return this.#seen.get(name(topic))?.rates ?? []
  }
}

function name({ profile, topic }: TopicRate): string {
  return `${profile}\n${topic}`
}
