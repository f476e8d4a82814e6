import { wants } from '../filter.js'
import type { LiveEvent } from '../types.js'
import type { Topics } from './messages.js'

/** How many are kept: what a page shows at first, without being a store. */
const MOST = 200

/** The newest event of each name and topic, for pages that come later. */
export class Newest {
  readonly #events = new Map<string, LiveEvent>()

  remember(event: LiveEvent): void {
    const key = `${event.name}\n${event.topic}`
    // Put at the end again, so that what changes is kept longest.
    this.#events.delete(key)
    this.#events.set(key, event)
    if (this.#events.size <= MOST) return
    for (const oldest of this.#events.keys()) {
      this.#events.delete(oldest)
      return
    }
  }

  of(topics: Topics): readonly LiveEvent[] {
    return [...this.#events.values()].filter(event => wants(topics, event.topic))
  }
}
