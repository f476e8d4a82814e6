import { bridge, invalidate, type LiveMap, patch, remove, upsert } from '@tidings/react/query'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { Desk } from './desk.js'

interface Book {
  readonly id: number
  readonly title: string
}
type Events = { 'book.put': Book; 'book.gone': { readonly id: number }; 'total.changed': null }

const byId = (one: Book, other: Book) => one.id - other.id
const MAP: LiveMap<Events> = {
  'book.put': [
    upsert(['list'], { position: byId }),
    upsert(['pages'], { position: byId, list: 'items' }),
    patch(['book'], (_old: Book | null, event) => event.data, { rest: event => [event.data.id] }),
    invalidate(['total']),
  ],
  'book.gone': [
    remove(['list']),
    remove(['pages'], { list: 'items' }),
    patch(['book'], (): null => null, { rest: event => [event.data.id] }),
    invalidate(['total']),
  ],
}

/** Numbers that look random, the same for the same seed (mulberry32). */
function random(seed: number): (below: number) => number {
  let state = seed
  return below => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below
  }
}

/** What the server has. Its events leave after each change, and arrive when the test lets them. */
class Server {
  readonly #books = new Map<number, Book>()
  readonly outbox: { name: string; data: unknown }[] = []
  #revision = 0

  change(pick: (below: number) => number): void {
    const id = pick(6)
    this.#revision += 1
    if (pick(3) === 0) {
      this.#books.delete(id)
      this.outbox.push({ name: 'book.gone', data: { id } })
    } else {
      const book = { id, title: `${this.#revision}` }
      this.#books.set(id, book)
      this.outbox.push({ name: 'book.put', data: book })
    }
  }

  answer([what, id]: readonly unknown[]): unknown {
    const all = [...this.#books.values()].sort(byId)
    if (what === 'list') return all
    if (what === 'book') return this.#books.get(id as number) ?? null
    if (what === 'total') return all.map(book => book.title).join(' ')
    const after = all.filter(book => book.id > (id as number))
    const items = after.slice(0, 2)
    return after.length > 2 ? { items, next: items.at(-1)?.id } : { items }
  }
}

const KEYS = [['list'], ['book', 1], ['book', 2], ['total']]

/** A life of a page: changes, events in batches, fetches that were read early and land late, cuts, gaps, pauses. */
async function live(seed: number, steps: number): Promise<{ cached: unknown[]; truth: unknown[] }> {
  const pick = random(seed)
  const desk = new Desk()
  const server = new Server()
  const read: { land: () => Promise<void> }[] = []
  const waiting = () => desk.asked.filter(one => !one.signal.aborted)
  const hidden = new Map<number, () => void>()
  const readOne = () => {
    const live = waiting()
    const one = live[pick(live.length)]
    if (one === undefined) return
    desk.asked.splice(desk.asked.indexOf(one), 1)
    const data = server.answer(one.key)
    read.push({ land: () => one.answer(data) })
  }
  const landOne = async () => {
    if (read.length > 0) await read.splice(pick(read.length), 1)[0]?.land()
  }
  const deliver = (count: number) => {
    const events = server.outbox.splice(0, count)
    if (events.length > 0) desk.client.tell(...events)
  }

  for (let index = 0; index < 3; index += 1) server.change(pick)
  server.outbox.length = 0
  const bridging = bridge(desk.client as never, desk.queries, MAP, { throttle: 50 })
  KEYS.forEach((key, index) => {
    hidden.set(index, desk.show(key).hide)
  })
  const pages = desk.showPages(['pages'])
  const acts: (() => unknown)[] = [
    () => server.change(pick),
    () => server.change(pick),
    () => deliver(1 + pick(4)),
    () => deliver(1 + pick(4)),
    readOne,
    readOne,
    landOne,
    landOne,
    () => desk.settle(pick(80)),
    () => void desk.queries.refetchQueries({ queryKey: KEYS[pick(KEYS.length)] ?? [] }),
    () => void pages.fetchNextPage().catch(() => {}),
    () => {
      // A gap: events are lost, and that is told.
      server.outbox.splice(0, 1 + pick(3))
      desk.client.gap()
    },
    () => (pick(2) === 0 ? bridging.pause() : bridging.resume()),
    () => {
      const index = pick(KEYS.length)
      const hide = hidden.get(index)
      if (hide === undefined) hidden.set(index, desk.show(KEYS[index] ?? []).hide)
      else {
        hide()
        hidden.delete(index)
      }
    },
    () => {
      // The first connection opens; what the server has sent before is not for this page.
      if (desk.client.connection.status !== 'connecting') return
      server.outbox.length = 0
      desk.client.open()
    },
  ]
  for (let step = 0; step < steps; step += 1) await acts[pick(acts.length)]?.()

  if (desk.client.connection.status === 'connecting') {
    server.outbox.length = 0
    desk.client.open()
  }
  bridging.resume()
  deliver(Number.POSITIVE_INFINITY)
  KEYS.forEach((key, index) => {
    if (!hidden.has(index)) desk.show(key)
  })
  // What was read early lands first, and then all is answered until nothing more is asked.
  for (let round = 0; round < 50; round += 1) {
    while (read.length > 0) await landOne()
    await desk.settle(100)
    if (waiting().length === 0) break
    while (waiting().length > 0) readOne()
  }
  bridging.stop()
  const pagesNow = (desk.data(['pages']) as { pages: { items: Book[]; next?: number }[] }).pages
  // The loaded part of the list: what is up to the place where the next page begins.
  const end = pagesNow.at(-1)?.next ?? Number.POSITIVE_INFINITY
  const loaded = (server.answer(['list']) as Book[]).filter(book => book.id <= end)
  return {
    cached: [...KEYS.map(key => desk.data(key)), pagesNow.flatMap(page => page.items)],
    truth: [...KEYS.map(key => server.answer(key)), loaded],
  }
}

/** How many lives are tried; more by `SEEDS=10000`. */
const SEEDS = Number(process.env.SEEDS ?? 150)

afterEach(() => {
  vi.useRealTimers()
})

describe('whatever comes in whatever order', () => {
  it('the cache is what the server has, in the end', async () => {
    for (let seed = 1; seed <= SEEDS; seed += 1) {
      const { cached, truth } = await live(seed, 120)
      expect(cached, `seed ${seed}`).toEqual(truth)
    }
  }, 600_000)
})
