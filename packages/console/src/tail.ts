import { eventTest, isEmpty, NO_FILTER, type TailFilter } from './filter.js'
import { isRounded } from './json-text.js'
import type { SeenEvent } from './model.js'
import { Ring } from './ring.js'
import { Store } from './store.js'

/** How many events are kept in the page: as many as somebody may want to look through, and a few tens of MB. */
const KEPT = 20_000

/** Why the list stands still: somebody paused it, has scrolled away from the newest, or reads one. */
export type Hold = 'pause' | 'scroll' | 'open'

/** An event as it came. */
export type Came = Omit<SeenEvent, 'number' | 'text' | 'rounded'>

/**
 * The newest events, and what of them is shown.
 *
 * While it is held, what comes is counted and put aside, so that the list stands still; it joins the list on release.
 */
export class Tail {
  /** Grows with each change; drawing follows it. */
  readonly version = new Store(0)
  #all: Ring<Seen>
  #waiting: Ring<Seen>
  #matching: Ring<Seen>
  #filter: TailFilter = NO_FILTER
  #test: ((event: SeenEvent) => boolean) | undefined
  #holds = new Set<Hold>()
  #total = 0
  /** Of what came while it was held, what fits the filter, and how many of these are not kept any more. */
  #fitting = 0
  #lost = 0
  #told = false
  readonly #schedule: (run: () => void) => void

  /** `schedule` runs a drawing soon: many batches are then one drawing. */
  constructor(schedule: (run: () => void) => void, kept = KEPT) {
    this.#schedule = schedule
    this.#all = new Ring(kept)
    this.#waiting = new Ring(kept)
    this.#matching = new Ring(kept)
  }

  /** What the filter lets through, oldest first. */
  get events(): Ring<SeenEvent> {
    return this.#test ? this.#matching : this.#all
  }

  /** How many are kept, whatever the filter. */
  get kept(): number {
    return this.#all.length
  }

  /** How many have come since the page was opened. */
  get total(): number {
    return this.#total
  }

  /** How many that fit the filter came while it was held. */
  get waiting(): number {
    return this.#fitting
  }

  /** How many of those are not kept any more, as there were too many. */
  get lost(): number {
    return this.#lost
  }

  get filter(): TailFilter {
    return this.#filter
  }

  get held(): ReadonlySet<Hold> {
    return this.#holds
  }

  /** The newest `most` events, the newest first: whatever is asked for and shown, also those that were put aside. */
  newest(most: number): SeenEvent[] {
    const found: SeenEvent[] = []
    for (const ring of [this.#waiting, this.#all]) {
      for (let back = 0; back < ring.length && found.length < most; back++) {
        const event = ring.newest(back)
        if (event && event.gap === undefined) found.push(event)
      }
    }
    return found
  }

  /** What is kept, each by its {@link markOf}. */
  marks(): ReadonlySet<string> {
    return new Set([...this.#all, ...this.#waiting].map(markOf))
  }

  add(events: readonly Came[]): void {
    for (const came of events) {
      const event = new Seen(++this.#total, came)
      if (this.#holds.size === 0) this.#show(event)
      else this.#putAside(event)
    }
    this.#tell()
  }

  hold(why: Hold): void {
    if (this.#holds.has(why)) return
    this.#holds.add(why)
    this.#tell()
  }

  release(why: Hold): void {
    if (!this.#holds.delete(why)) return
    if (this.#holds.size === 0) {
      for (const event of this.#waiting) this.#show(event)
      this.#waiting.clear()
      this.#fitting = this.#lost = 0
    }
    this.#tell()
  }

  setFilter(filter: TailFilter): void {
    this.#filter = filter
    this.#test = isEmpty(filter) ? undefined : eventTest(filter)
    this.#matching.clear()
    if (this.#test) for (const event of this.#all) if (this.#fits(event)) this.#matching.push(event)
    this.#fitting = this.#lost
    for (const event of this.#waiting) if (this.#fits(event)) this.#fitting++
    this.#tell()
  }

  clear(): void {
    for (const ring of [this.#all, this.#waiting, this.#matching]) ring.clear()
    this.#fitting = this.#lost = 0
    this.#tell()
  }

  #show(event: Seen): void {
    this.#all.push(event)
    if (!this.#test) return
    if (this.#fits(event)) this.#matching.push(event)
    const oldest = this.#all.at(0)?.number ?? 0
    while ((this.#matching.at(0)?.number ?? oldest) < oldest) this.#matching.shift()
  }

  #putAside(event: Seen): void {
    const oldest = this.#waiting.at(0)
    if (this.#waiting.push(event) && oldest && this.#fits(oldest)) this.#lost++
    if (this.#fits(event)) this.#fitting++
  }

  /** A gap is one in whatever is asked for. */
  #fits(event: Seen): boolean {
    return event.gap !== undefined || this.#test === undefined || this.#test(event)
  }

  #tell(): void {
    if (this.#told) return
    this.#told = true
    this.#schedule(() => {
      this.#told = false
      this.version.set(this.version.value + 1)
    })
  }
}

/** Tells kept events apart, also where a log that was restored gives a cursor a second time. */
export function markOf({ cursor, time }: Pick<Came, 'cursor' | 'time'>): string {
  return `${cursor} ${time}`
}

/** An event that looks into its data only when somebody else does. */
export class Seen implements SeenEvent {
  readonly number: number
  readonly name: string
  readonly topic: string
  readonly profile: string | undefined
  readonly data: unknown
  readonly time: number | undefined
  readonly cursor: string | undefined
  readonly audience: readonly string[] | undefined
  readonly key: string | undefined
  readonly scope: unknown
  readonly gap: string | undefined
  #text: string | undefined
  #rounded: boolean | undefined

  constructor(number: number, came: Came) {
    this.number = number
    this.name = came.name
    this.topic = came.topic
    this.profile = came.profile
    this.data = came.data
    this.time = came.time
    this.cursor = came.cursor
    this.audience = came.audience
    this.key = came.key
    this.scope = came.scope
    this.gap = came.gap
  }

  get text(): string {
    this.#text ??= JSON.stringify(this.data) ?? ''
    return this.#text
  }

  get rounded(): boolean {
    this.#rounded ??= isRounded(this.data)
    return this.#rounded
  }
}
