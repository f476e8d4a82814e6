import type { LiveEvent } from './types.js'

/** So many names, and so many pairs of name and topic, are remembered: what a page shows, and no store. */
const MOST = 1_000

/** The newest event of each name, and of each name and topic. */
export class Latest {
  readonly #events = new Map<string, LiveEvent>()
  readonly #names = new Map<string, LiveEvent>()

  /** Returns the event; or the one that is known already, where this is that state again, as it is given at each opening. */
  remember(event: LiveEvent): LiveEvent {
    const key = keyOf(event.name, event.topic)
    const known = this.#events.get(key)
    // Signals of one moment that say the same are as good as one.
    if (event.time && !event.cursor && event.time === known?.time && isEqual(event.data, known.data)) event = known
    put(this.#events, key, event)
    put(this.#names, event.name, event)
    return event
  }

  of(name: string, topic: string | undefined): LiveEvent | undefined {
    return topic === undefined ? this.#names.get(name) : this.#events.get(keyOf(name, topic))
  }

  clear(): void {
    this.#events.clear()
    this.#names.clear()
  }
}

/** Whether two are the same JSON. */
export function isEqual(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b)
}

/** Neither names nor topics have control characters (protocol §1.2, §7.1). */
function keyOf(name: string, topic: string): string {
  return `${name}\n${topic}`
}

/** At the end, so that what has not changed for longest goes first. */
function put(map: Map<string, LiveEvent>, key: string, event: LiveEvent): void {
  map.delete(key)
  map.set(key, event)
  if (map.size <= MOST) return
  const [oldest] = map.keys()
  if (oldest !== undefined) map.delete(oldest)
}
