/** Whatever happens in whatever order: each event that is wanted is told once and in order, or a gap is. */

import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { matches, wants } from '../src/filter.js'
import { Link } from '../src/link.js'
import { settle } from '../src/settings.js'
import type { Batch, Frame } from '../src/source.js'
import type { Connection, Token } from '../src/types.js'
// Loaded when they are needed; here they are there already, so that each history is the same each time.
import '../src/ending.js'
import '../src/renew.js'
import '../src/transports/probe.js'
import '../src/widen.js'
import { type Asked, at, closing, cursor, event, Network, pass, world } from './world.js'

const TOPICS = ['book/1', 'book/2', 'author/1', 'queue']
const PATTERNS = ['book/*', 'book/1', 'author/**', 'queue', '**']

/** Numbers that look random, and are the same each time (mulberry32). */
function numbers(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296
  }
}

/** The log of a hub, and what it tells a connection: from its cursor on, what fits. */
class Hub {
  /** Topic of the event at place `index + 1`. */
  readonly log: string[] = []
  first = 1
  readonly #told = new Map<Asked, number>()

  publish(topic: string): void {
    this.log.push(topic)
  }

  /** Forgets all but the newest few. */
  trim(): void {
    this.first = Math.max(this.first, this.log.length - 2)
  }

  open(asked: Asked): void {
    const from = asked.request.cursor === undefined ? this.log.length : offsetOf(asked.request.cursor)
    const trimmed = from < this.first - 1
    const start = trimmed ? this.first - 1 : from
    this.#told.set(asked, start)
    const resumed = { reason: 'trimmed', asked: at(from), resumed: at(start), atMost: undefined } as const
    asked.open(...(trimmed ? [{ type: 'gap', gap: resumed } as const] : []), cursor(start))
  }

  /** Tells the next few events, perhaps some of those before once more, as no hub should. */
  tell(asked: Asked, count: number, again: boolean): void {
    const told = this.#told.get(asked)
    if (told === undefined) return
    const frames: Frame[] = []
    let place = again ? Math.max(this.first - 1, told - 2) : told
    for (; place < Math.min(told + count, this.log.length); place++) {
      const topic = this.log[place] ?? ''
      if (wants(asked.request.topics, topic)) frames.push(event(place + 1, topic))
    }
    this.#told.set(asked, Math.max(told, place))
    if (place === this.log.length) frames.push(cursor(place))
    if (frames.length > 0) asked.send(...frames)
  }

  isOpen(asked: Asked): boolean {
    return this.#told.has(asked)
  }
}

function offsetOf(place: string): number {
  return Number(place.split('-')[1])
}

/** Runs one history, and gives what the page was told and when it wanted what. */
async function run(seed: number) {
  const random = numbers(seed)
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)] as T
  const hub = new Hub()
  const network = new Network()
  const environment = world({ random })
  const batches: Batch[] = []
  const connections: Connection[] = []
  /** From which place of the log on which pattern was wanted without a break. */
  let wanted = new Map<string, number>()
  let told = 0
  const missing: string[] = []
  const heard = new Set<number>()

  const link: Link = new Link(
    settle({ url: 'http://hub.test', backgroundGrace: 10_000 }, environment),
    {
      batch: batch => {
        expect(batch.from).toBe(batches.at(-1)?.to)
        batches.push(batch)
        for (const frame of batch.frames) {
          const place = frame.type === 'gap' ? offsetOf(frame.gap.resumed) : offsetOf(frame.event.cursor ?? '')
          if (frame.type === 'event') {
            expect(place, 'in order, and once').toBeGreaterThan(told)
            heard.add(place)
          } else for (let lost = told + 1; lost <= place; lost++) heard.add(lost)
          check(place - 1)
          told = place
        }
        if (batch.to !== undefined) {
          check(offsetOf(batch.to))
          told = Math.max(told, offsetOf(batch.to))
        }
      },
      connection: connection => connections.push(connection),
      error: () => {},
      token: async (_refresh, signal): Promise<Token | undefined> => {
        if (random() < 0.1) throw new Error('no token today')
        await new Promise(done => setTimeout(done, random() * 100))
        expect(signal.aborted || connections.at(-1)?.status !== 'closed').toBe(true)
        return random() < 0.5 ? { token: 't', expires: Date.now() + 5_000 } : undefined
      },
      loggedOut: () => {},
    },
    environment,
    name => network.transport(name),
  )

  /** What lies before `upTo` and was wanted all the time has been heard. */
  function check(upTo: number): void {
    for (let place = told + 1; place <= upTo; place++) {
      const topic = hub.log[place - 1] ?? ''
      for (const [pattern, since] of wanted) {
        if (place > since && matches(pattern, topic) && !heard.has(place)) missing.push(`${place} ${topic}`)
      }
    }
  }

  const want = () => {
    const next = TOPICS.length > 0 && random() < 0.1 ? ['**'] : [...new Set([pick(PATTERNS), pick(PATTERNS)])]
    wanted = new Map(next.map(pattern => [pattern, wanted.get(pattern) ?? hub.log.length]))
    link.want(next)
  }
  const live = (): Asked | undefined => network.live.at(-1)
  const onLive = (run: (asked: Asked) => void) => () => {
    const asked = live()
    if (asked) run(asked)
  }
  const steps: readonly (() => unknown)[] = [
    () => hub.publish(pick(TOPICS)),
    () => hub.publish(pick(TOPICS)),
    () => hub.publish(pick(TOPICS)),
    onLive(asked =>
      hub.isOpen(asked) ? hub.tell(asked, 1 + Math.floor(random() * 4), random() < 0.3) : hub.open(asked),
    ),
    onLive(asked => (hub.isOpen(asked) ? hub.tell(asked, 100, false) : hub.open(asked))),
    onLive(asked => asked.end()),
    onLive(asked => asked.end({ kind: 'silence' })),
    onLive(asked => !hub.isOpen(asked) && asked.refuse(pick([401, 503, 429]))),
    onLive(asked =>
      asked.end(
        pick([
          { kind: 'content-type', contentType: 'text/html' },
          { kind: 'protocol', message: 'x' },
        ] as const),
      ),
    ),
    onLive(asked => hub.isOpen(asked) && asked.send(closing(pick([3001, 4001]), true))),
    () => random() < 0.1 && hub.trim(),
    want,
    () => link.wake(),
    () => link.visible(random() < 0.7),
    () => pass(random() * 200),
    () => pass(random() * 20_000),
    () => pass(random() < 0.1 ? 700_000 : 0),
  ]
  // The first place is known before anything happens.
  want()
  while (network.live.length === 0) await pass(1_000)
  onLive(asked => hub.open(asked))()
  for (let step = 0; step < 150; step++) {
    await pick(steps)()
    expect(network.live.length, 'one connection at most').toBeLessThanOrEqual(1)
  }

  // In the end somebody looks, and the hub is well.
  link.visible(true)
  link.wake()
  for (let times = 0; times < 60 && told < hub.log.length; times++) {
    await pass(1_000)
    const asked = live()
    if (asked && !hub.isOpen(asked)) hub.open(asked)
    else if (asked) hub.tell(asked, 1_000, false)
  }
  const status = connections.at(-1)?.status
  link.close()
  return { missing, told, end: hub.log.length, status, live: network.live.length, began: batches.length > 0 }
}

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

it('tells each wanted event once and in order, or a gap, in 400 random histories, and leaves nothing behind', async () => {
  for (let seed = 1; seed <= 400; seed++) {
    vi.setSystemTime(0)
    const { missing, told, end, status, live, began } = await run(seed)
    const story = `history ${seed}`
    expect(missing, story).toEqual([])
    // Two refusals in a row close it for good, which is an end that is told.
    if (began && status !== 'closed') expect(told, story).toBe(end)
    expect(live, story).toBe(0)
    await vi.advanceTimersByTimeAsync(200)
    expect(vi.getTimerCount(), story).toBe(0)
  }
}, 60_000)
