import { wants } from '../filter.js'
import type { LiveEvent } from '../types.js'
import type { Topics } from './messages.js'

/** How many are kept: what a page shows at first, without being a store. */
const MOST = 200

/** The newest event of each name and topic, for pages that come later. */
export class Newest {
  readonly #events = new Map<string, LiveEvent>()
  /** The names of states: they come as events, and without a place at the opening (protocol §2.3). */
  readonly #states = new Set<string>()

  remember(event: LiveEvent): void {
    const key = `${event.name}\n${event.topic}`
    if (event.cursor !== undefined && this.#events.get(key)?.cursor === undefined && this.#events.has(key)) {
      this.#states.add(event.name)
    }
    // Put at the end again, so that what changes is kept longest.
    this.#events.delete(key)
    this.#events.set(key, event)
    if (this.#events.size <= MOST) return
    for (const oldest of this.#events.keys()) {
      this.#events.delete(oldest)
      return
    }
  }

  /** Those of these topics. A state has no place, as at the opening. */
  of(topics: Topics): readonly LiveEvent[] {
    return [...this.#events.values()]
      .filter(event => wants(topics, event.topic))
      .map(event => (this.#states.has(event.name) ? { ...event, cursor: undefined } : event))
  }
}
