import { wants } from '../filter.js'
import type { LiveEvent } from '../types.js'
import type { Topics } from './messages.js'

/** How many events are kept: what a page shows at first, without being a store. */
const MOST_EVENTS = 200

/** How many states are kept: as many as a hub has, about. */
const MOST_STATES = 1_000

/**
 * The newest event of each name and topic, for pages that come later.
 *
 * States are kept apart, so that no number of other events displaces one. A state is known by its name: at an opening it comes without a
 * place (protocol §2.3). One that was published for the first time since then looks like any event, so the hub has to be asked.
 */
export class Newest {
  readonly #events = new Map<string, LiveEvent>()
  /** Without their places, as at the opening. The newest signals are among them, for nothing tells them apart. */
  readonly #states = new Map<string, LiveEvent>()
  readonly #stateNames = new Set<string>()
  /** The names of which the hub has told no state. */
  readonly #plainNames = new Set<string>()
  /** The names that may be those of states, each with a topic on which it was heard. */
  readonly #unsure = new Map<string, string>()
  /** A state was displaced by others. */
  #isIncomplete = false

  remember(event: LiveEvent): void {
    const { name, topic, cursor } = event
    if (cursor === undefined) this.#addStateName(name)
    if (this.#stateNames.has(name)) this.#putState(event)
    else {
      if (!this.#plainNames.has(name)) this.#unsure.set(name, topic)
      put(this.#events, event, MOST_EVENTS)
    }
  }

  /** Those of these topics. A state has no place. */
  of(topics: Topics): readonly LiveEvent[] {
    return [...this.#events.values(), ...this.#states.values()].filter(event => wants(topics, event.topic))
  }

  /** The names of which only the hub knows whether they are those of states. `undefined` if there is no need to ask it. */
  unsure(topics: Topics): readonly string[] | undefined {
    const names = [...this.#unsure].filter(([, topic]) => wants(topics, topic)).map(([name]) => name)
    return names.length > 0 || this.#isIncomplete ? names : undefined
  }

  /** Takes note of the states that the hub has, of which `names` were unsure. Returns those that were not known, as new as they are known here. */
  learn(states: readonly LiveEvent[], names: readonly string[]): readonly LiveEvent[] {
    const unknown = states.filter(state => !this.#states.has(keyOf(state)))
    const newest = unknown.map(state => placeless(this.#events.get(keyOf(state)) ?? state))
    for (const { name } of states) this.#addStateName(name)
    for (const state of newest) this.#putState(state)
    for (const name of names) {
      this.#unsure.delete(name)
      if (!this.#stateNames.has(name)) this.#plainNames.add(name)
    }
    return newest
  }

  #addStateName(name: string): void {
    if (this.#stateNames.has(name)) return
    this.#stateNames.add(name)
    this.#plainNames.delete(name)
    this.#unsure.delete(name)
    for (const [key, event] of this.#events) {
      if (event.name !== name) continue
      this.#events.delete(key)
      this.#putState(event)
    }
  }

  #putState(event: LiveEvent): void {
    if (put(this.#states, placeless(event), MOST_STATES)) this.#isIncomplete = true
  }
}

function placeless(event: LiveEvent): LiveEvent {
  return event.cursor === undefined ? event : { ...event, cursor: undefined }
}

/** Neither names nor topics have control characters (protocol §1.2, §7.1). */
export function keyOf({ name, topic }: LiveEvent): string {
  return `${name}\n${topic}`
}

/** At the end, so that what changes is kept longest. Returns whether that displaced another one. */
function put(map: Map<string, LiveEvent>, event: LiveEvent, most: number): boolean {
  const key = keyOf(event)
  map.delete(key)
  map.set(key, event)
  if (map.size <= most) return false
  const [oldest] = map.keys()
  return oldest !== undefined && map.delete(oldest)
}
