import { defaultScheduler, notifyManager } from '@tanstack/react-query'
import type { LiveEvent } from '@tidings/client'
import { type BridgeOptions, bridge, invalidate, type LiveMap, patch, remove, upsert } from '@tidings/react/query'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { FakeClient } from '../src/testing.js'
import { Desk } from './desk.js'

interface Book {
  readonly id: number
  readonly title: string
}

type Events = {
  'book.updated': Book
  'book.renamed': Book
  'book.deleted': { readonly id: number }
  'queue.changed': null
}

const MAP: LiveMap<Events> = {
  'book.updated': upsert(['books']),
  'book.renamed': patch(['book'], (old: Book, event) => ({ ...old, title: event.data.title }), {
    rest: event => [event.data.id],
  }),
  'book.deleted': [remove(['books']), invalidate(['book'], { rest: event => [event.data.id] })],
  'queue.changed': invalidate(['queue']),
}

const a: Book = { id: 1, title: 'A' }
const b: Book = { id: 2, title: 'B' }

afterEach(() => {
  vi.useRealTimers()
})

/** A bridge that knows its place, over caches that are there already. */
async function started(map: LiveMap<Events> = MAP, options: BridgeOptions = {}) {
  const desk = new Desk()
  desk.client.open()
  const live = bridge(desk.client as never, desk.queries, map, options)
  await live.ready
  return { desk, live }
}

/** A client that looks open while its connection is exchanged for one with more topics. */
class Exchanged extends FakeClient {
  arrive: () => void = () => {}

  override position() {
    return new Promise<string>(resolve => {
      this.arrive = () => resolve('0000000a-0')
    })
  }
}

/** Shows a query and answers its fetch. */
async function shown(desk: Desk, key: readonly unknown[], data: unknown) {
  const seen = desk.show(key)
  await desk.one().answer(data)
  seen.told = 0
  return seen
}

describe('changing what is cached', () => {
  it('patches, upserts and removes in the order of the events', async () => {
    const { desk } = await started()
    await shown(desk, ['books'], [a])
    await shown(desk, ['book', 1], a)
    desk.client.tell(
      { name: 'book.updated', data: b },
      { name: 'book.updated', data: { id: 1, title: 'A2' } },
      { name: 'book.renamed', data: { id: 1, title: 'A3' } },
      { name: 'book.deleted', data: { id: 2 } },
    )
    expect(desk.data(['books'])).toEqual([{ id: 1, title: 'A2' }])
    expect(desk.data(['book', 1])).toEqual({ id: 1, title: 'A3' })
    expect(desk.keys()).toEqual([])
  })

  it('makes no cache where there is none', async () => {
    const { desk } = await started()
    desk.client.tell({ name: 'book.updated', data: b }, { name: 'book.renamed', data: b }, { name: 'queue.changed' })
    expect(desk.queries.getQueryCache().getAll()).toEqual([])
  })

  it('tells each observer once for a batch, however many events and rules', async () => {
    const { desk } = await started()
    const books = await shown(desk, ['books'], [a])
    const book = await shown(desk, ['book', 1], a)
    const events = Array.from({ length: 10_000 }, (_, index) => [
      { name: 'book.updated', data: { id: index % 1_000, title: `${index}` } },
      { name: 'book.renamed', data: { id: 1, title: `${index}` } },
    ])
    let tasks = 0
    notifyManager.setScheduler(tell => {
      tasks += 1
      queueMicrotask(tell)
    })
    desk.client.tell(...events.flat())
    notifyManager.setScheduler(defaultScheduler)
    await desk.settle()
    // All are told in one task, so that a page with several queries is drawn once.
    expect(tasks).toBe(1)
    expect(books.told).toBe(1)
    expect(book.told).toBe(1)
    expect(desk.data(['books'])).toHaveLength(1_000)
    expect(desk.data(['book', 1])).toEqual({ id: 1, title: '9999' })
  })

  it('tells nobody of what changes nothing', async () => {
    const { desk } = await started()
    const books = await shown(desk, ['books'], [a])
    desk.client.tell({ name: 'book.deleted', data: { id: 7 } })
    await desk.settle()
    expect(books.told).toBe(0)
  })

  it('leaves queries that merely begin with the key alone, unless it is asked not to', async () => {
    const { desk } = await started({
      'book.updated': upsert(['books'], {
        exact: false,
        where: (event, key) => key[1] !== 'short' || event.data.title.length < 3,
      }),
      'book.deleted': remove(['books']),
    })
    await shown(desk, ['books', 'all'], [a])
    await shown(desk, ['books', 'short'], [a])
    desk.client.tell(
      { name: 'book.updated', data: { id: 2, title: 'long' } },
      { name: 'book.deleted', data: { id: 1 } },
    )
    expect(desk.data(['books', 'all'])).toEqual([a, { id: 2, title: 'long' }])
    expect(desk.data(['books', 'short'])).toEqual([a])
  })

  it('fetches anew what a rule throws at, reports it once, and goes on with the others', async () => {
    const onError = vi.fn()
    const desk = new Desk(new FakeClient({ onError }))
    desk.client.open()
    await bridge(desk.client as never, desk.queries, MAP).ready
    await shown(desk, ['books'], { not: 'a list' })
    await shown(desk, ['book', 2], b)
    desk.client.tell(
      { name: 'book.updated', data: a },
      { name: 'book.updated', data: b },
      { name: 'book.renamed', data: { id: 2, title: 'B2' } },
    )
    expect(desk.keys()).toEqual([['books']])
    expect(desk.data(['book', 2])).toEqual({ id: 2, title: 'B2' })
    expect(onError).toHaveBeenCalledTimes(1)
    expect(onError).toHaveBeenCalledWith(expect.objectContaining({ code: 'handler', cause: expect.any(TypeError) }))
  })

  it('fetches anew a list whose order throws, and changes the others', async () => {
    const onError = vi.fn()
    const desk = new Desk(new FakeClient({ onError }))
    desk.client.open()
    const position = () => {
      throw new Error('no order')
    }
    const map: LiveMap<Events> = { 'book.updated': [upsert(['books'], { position }), upsert(['all'])] }
    await bridge(desk.client as never, desk.queries, map).ready
    await shown(desk, ['books'], [a])
    await shown(desk, ['all'], [a])
    desk.client.tell({ name: 'book.updated', data: b })
    expect(desk.data(['all'])).toEqual([a, b])
    expect(desk.keys()).toEqual([['books']])
    expect(onError).toHaveBeenCalledTimes(1)
  })

  it('makes nothing valid that was not, and nothing fresh that was old', async () => {
    const { desk } = await started()
    const books = await shown(desk, ['books'], [a])
    books.hide()
    const fetchedAt = desk.queries.getQueryState(['books'])?.dataUpdatedAt
    await desk.settle(5_000)
    desk.client.gap()
    desk.client.tell({ name: 'book.updated', data: b })
    expect(desk.data(['books'])).toEqual([a, b])
    expect(desk.queries.getQueryState(['books'])).toMatchObject({ isInvalidated: true, dataUpdatedAt: fetchedAt })
    desk.show(['books'])
    expect(desk.keys()).toEqual([['books']])
  })
})

describe('a fetch that is under way', () => {
  it('is canceled before its query is patched, and made again, so that old data never lands on new', async () => {
    const { desk } = await started()
    await shown(desk, ['books'], [a])
    void desk.queries.refetchQueries({ queryKey: ['books'] })
    const old = desk.one()
    desk.client.tell({ name: 'book.updated', data: b })
    expect(old.signal.aborted).toBe(true)
    await old.answer([a])
    expect(desk.data(['books'])).toEqual([a, b])
    await desk.one().answer([a, b, { id: 3, title: 'C' }])
    expect(desk.data(['books'])).toHaveLength(3)
    await desk.settle(1_000)
    expect(desk.keys()).toEqual([])
  })

  it('is canceled also where the event changes nothing that is cached, because it may bring the old back', async () => {
    const { desk } = await started()
    await shown(desk, ['books'], [a])
    void desk.queries.refetchQueries({ queryKey: ['books'] })
    const old = desk.one()
    desk.client.tell({ name: 'book.deleted', data: { id: 2 } })
    await old.answer([a, b])
    expect(desk.data(['books'])).toEqual([a])
    expect(desk.keys()).toEqual([['books']])
  })

  it('is marked instead of made again where nobody looks', async () => {
    const { desk } = await started()
    const books = await shown(desk, ['books'], [a])
    books.hide()
    void desk.queries.prefetchQuery({ queryKey: ['books'], queryFn: () => new Promise(() => {}), staleTime: 0 })
    desk.client.tell({ name: 'book.updated', data: b })
    expect(desk.queries.getQueryState(['books'])).toMatchObject({
      fetchStatus: 'idle',
      isInvalidated: true,
      data: [a, b],
    })
    expect(desk.keys()).toEqual([])
  })

  it('is let through where there is nothing to show yet, and another follows', async () => {
    const { desk } = await started()
    desk.show(['books'])
    const first = desk.one()
    desk.client.tell({ name: 'book.updated', data: b })
    expect(first.signal.aborted).toBe(false)
    await first.answer([a])
    await desk.one().answer([a, b])
    expect(desk.data(['books'])).toEqual([a, b])
  })

  it('is let through where its query is invalidated, and another follows', async () => {
    const { desk } = await started()
    await shown(desk, ['queue'], 'old')
    void desk.queries.refetchQueries({ queryKey: ['queue'] })
    const first = desk.one()
    desk.client.tell({ name: 'queue.changed' })
    expect(first.signal.aborted).toBe(false)
    await first.answer('perhaps old')
    await desk.one().answer('new')
    await desk.settle(1_000)
    expect(desk.data(['queue'])).toBe('new')
    expect(desk.keys()).toEqual([])
  })

  it('gets through in the end, however many events come', async () => {
    const { desk } = await started()
    await shown(desk, ['books'], [a])
    void desk.queries.refetchQueries({ queryKey: ['books'] })
    const fetches: number[] = []
    for (let second = 0; second < 8; second += 1) {
      desk.client.tell({ name: 'book.updated', data: { id: 2, title: `${second}` } })
      await desk.settle(1_000)
      for (const one of desk.asked.filter(asked => asked.signal.aborted)) desk.asked.splice(desk.asked.indexOf(one), 1)
      fetches.push(desk.asked.length)
    }
    expect(fetches).toEqual([1, 1, 1, 1, 1, 1, 1, 1])
    const through = desk.one()
    expect(through.signal.aborted).toBe(false)
    await through.answer([a])
    await desk.settle(1_000)
    await desk.one().answer([a, { id: 2, title: '7' }])
    expect(desk.data(['books'])).toEqual([a, { id: 2, title: '7' }])
  })

  it('of another page of an infinite query is made again for that page, on the patched pages', async () => {
    const { desk } = await started({ 'book.updated': upsert(['books'], { list: 'items' }) })
    const observer = desk.showPages(['books'])
    await desk.one().answer({ items: [a], next: 1 })
    void observer.fetchNextPage()
    const old = desk.one()
    desk.client.tell({ name: 'book.updated', data: { id: 1, title: 'A2' } })
    expect(old.signal.aborted).toBe(true)
    const again = desk.one()
    expect(again.key).toEqual(['books', 1])
    await again.answer({ items: [b] })
    expect(desk.data(['books'])).toMatchObject({ pages: [{ items: [{ id: 1, title: 'A2' }] }, { items: [b] }] })
  })
})

describe('fetching anew', () => {
  it('follows where only the server knows what is on the loaded pages', async () => {
    const { desk } = await started({ 'book.deleted': remove(['books'], { list: 'items' }) })
    desk.showPages(['books'])
    await desk.one().answer({ items: [a, b], next: 2 })
    desk.client.tell({ name: 'book.deleted', data: { id: 1 } })
    expect(desk.keys()).toEqual([])
    desk.client.tell({ name: 'book.deleted', data: { id: 2 } })
    expect(desk.keys()).toHaveLength(1)
  })

  it('is not left out because another page was fetched meanwhile, which TanStack Query takes for valid', async () => {
    const { desk } = await started({ 'queue.changed': invalidate(['books']) })
    const pages = desk.showPages(['books'])
    await desk.one().answer({ items: [a], next: 1 })
    desk.client.tell({ name: 'queue.changed' })
    await desk.settle()
    const whole = desk.one()
    void pages.fetchNextPage()
    expect(whole.signal.aborted).toBe(true)
    await desk.one().answer({ items: [b] })
    await desk.settle(1_000)
    expect(desk.keys()).toEqual([['books', -1]])
  })

  it('happens at once, and then at most once in the throttle, the last event never forgotten', async () => {
    const { desk } = await started(MAP, { throttle: 100 })
    await shown(desk, ['queue'], 0)
    desk.client.tell({ name: 'queue.changed' }, { name: 'queue.changed' })
    await desk.one().answer(1)
    for (const _ of [1, 2, 3]) {
      desk.client.tell({ name: 'queue.changed' })
      await desk.settle(10)
    }
    expect(desk.keys()).toEqual([])
    await desk.settle(70)
    await desk.one().answer(2)
    await desk.settle(1_000)
    expect(desk.keys()).toEqual([])
    desk.client.tell({ name: 'queue.changed' })
    expect(desk.keys()).toEqual([['queue']])
  })

  it('is about what begins with the key, and about what is on the page; the rest is marked', async () => {
    const { desk } = await started()
    await shown(desk, ['book', 1, 'history'], [])
    await shown(desk, ['book', 2], b)
    const hidden = await shown(desk, ['book', 1], a)
    hidden.hide()
    desk.client.tell({ name: 'book.deleted', data: { id: 1 } })
    expect(desk.keys()).toEqual([['book', 1, 'history']])
    expect(desk.queries.getQueryState(['book', 1])?.isInvalidated).toBe(true)
    expect(desk.queries.getQueryState(['book', 2])?.isInvalidated).toBe(false)
  })

  it('happens for everything mapped after a gap, also for keys no event has named', async () => {
    const { desk } = await started()
    await shown(desk, ['books'], [a])
    await shown(desk, ['book', 77], a)
    await shown(desk, ['queue'], 0)
    await shown(desk, ['unmapped'], 0)
    desk.client.gap()
    expect(desk.keys()).toEqual([['books'], ['book', 77], ['queue']])
  })

  it('is tried again when the connection is back, where it failed', async () => {
    const { desk } = await started()
    await shown(desk, ['queue'], 0)
    desk.client.tell({ name: 'queue.changed' })
    desk.client.cut()
    await desk.one().fail(new Error('no network'))
    await desk.settle(60_000)
    expect(desk.keys()).toEqual([])
    desk.client.open()
    await desk.one().answer(1)
    expect(desk.queries.getQueryState(['queue'])).toMatchObject({ data: 1, isInvalidated: false })
  })
})

describe('the beginning', () => {
  it('fetches anew what was fetched before the place was known, and lets what is under way through', async () => {
    const desk = new Desk()
    await shown(desk, ['books'], [a])
    bridge(desk.client as never, desk.queries, MAP)
    desk.show(['queue'])
    const early = desk.one()
    desk.client.open()
    await desk.settle()
    await desk.one().answer([a, b])
    await early.answer('old')
    await desk.one().answer('new')
    await desk.settle(1_000)
    expect(desk.keys()).toEqual([])
    expect(desk.data(['queue'])).toBe('new')
  })

  it('fetches nothing twice that is fetched once the bridge is ready', async () => {
    const { desk } = await started()
    await shown(desk, ['books'], [a])
    await desk.settle(1_000)
    expect(desk.keys()).toEqual([])
  })

  it('fetches nothing of a page that came with its place', async () => {
    const desk = new Desk(new FakeClient({ cursor: '0000000a-0' }))
    await shown(desk, ['books'], [a])
    await bridge(desk.client as never, desk.queries, MAP).ready
    desk.client.open()
    await desk.settle(1_000)
    expect(desk.keys()).toEqual([])
    desk.client.tell({ name: 'book.updated', data: b })
    expect(desk.data(['books'])).toEqual([a, b])
  })

  it('trusts no place that the client has left behind before the bridge began', async () => {
    const desk = new Desk(new FakeClient({ cursor: '0000000a-0' }))
    desk.client.open()
    desk.client.tell({ name: 'book.updated', data: b })
    await shown(desk, ['books'], [a])
    await bridge(desk.client as never, desk.queries, MAP).ready
    expect(desk.keys()).toEqual([['books']])
  })

  it('waits for the place of its own topics, also where the connection is open with those of others', async () => {
    const client = new Exchanged()
    const desk = new Desk(client)
    client.open()
    await shown(desk, ['books'], [a])
    bridge(client as never, desk.queries, MAP, { topics: ['book/*'] })
    await desk.settle(1_000)
    expect(desk.keys()).toEqual([])
    client.arrive()
    await desk.settle()
    expect(desk.keys()).toEqual([['books']])
  })

  it('is known at once where another bridge hears the same topics, until the turn in which that ends', async () => {
    const client = new Exchanged()
    const desk = new Desk(client)
    client.open()
    const options = { topics: ['book/*'] }
    const first = bridge(client as never, desk.queries, MAP, options)
    client.arrive()
    await first.ready
    const isReady = async (live: typeof first) => {
      let ready = false
      void live.ready.then(() => {
        ready = true
      })
      await desk.settle()
      return ready
    }
    first.stop()
    const second = bridge(client as never, desk.queries, MAP, options)
    expect(await isReady(second)).toBe(true)
    expect(await isReady(bridge(client as never, desk.queries, MAP, { topics: ['author/*'] }))).toBe(false)
    second.stop()
    await desk.settle()
    expect(await isReady(bridge(client as never, desk.queries, MAP, options))).toBe(false)
  })

  it('keeps no query waiting while the hub is away, and has it fetched anew when the hub is back', async () => {
    const desk = new Desk()
    const live = bridge(desk.client as never, desk.queries, MAP)
    desk.client.cut()
    await live.ready
    await shown(desk, ['books'], [a])
    await desk.settle(60_000)
    expect(desk.keys()).toEqual([])
    desk.client.open()
    await desk.settle()
    expect(desk.keys()).toEqual([['books']])
  })

  it('keeps no query waiting for longer than 2 s', async () => {
    const desk = new Desk()
    let ready = false
    void bridge(desk.client as never, desk.queries, MAP).ready.then(() => {
      ready = true
    })
    await desk.settle(1_999)
    expect(ready).toBe(false)
    await desk.settle(1)
    expect(ready).toBe(true)
    await shown(desk, ['books'], [a])
    desk.client.open()
    await desk.settle()
    expect(desk.keys()).toEqual([['books']])
  })

  it('keeps no query waiting after a refusal for good', async () => {
    const desk = new Desk()
    const live = bridge(desk.client as never, desk.queries, MAP)
    desk.client.close()
    await live.ready
  })

  it('is made up for when the client was closed at first', async () => {
    const desk = new Desk()
    desk.client.close()
    await shown(desk, ['books'], [a])
    bridge(desk.client as never, desk.queries, MAP)
    await desk.settle()
    desk.client.reconnect()
    desk.client.open()
    await desk.settle()
    expect(desk.keys()).toEqual([['books']])
  })
})

describe('pausing', () => {
  it('holds everything, gaps too, and applies it in order afterwards', async () => {
    const { desk, live } = await started()
    await shown(desk, ['books'], [a])
    await shown(desk, ['queue'], 0)
    live.pause()
    desk.client.tell({ name: 'book.updated', data: b }, { name: 'queue.changed' })
    desk.client.tell({ name: 'book.deleted', data: { id: 1 } })
    await desk.settle(1_000)
    expect(desk.data(['books'])).toEqual([a])
    expect(desk.keys()).toEqual([])
    live.resume()
    expect(desk.data(['books'])).toEqual([b])
    expect(desk.keys()).toEqual([['queue']])
  })

  it('fetches all anew instead of holding too much', async () => {
    const { desk, live } = await started(MAP, { hold: 2, paused: true })
    await shown(desk, ['books'], [a])
    desk.client.tell({ name: 'book.updated', data: b }, { name: 'queue.changed' }, { name: 'queue.changed' })
    live.resume()
    expect(desk.keys()).toEqual([['books']])
  })
})

describe('the end', () => {
  it('comes at once, also in the middle of a batch', async () => {
    const desk = new Desk()
    desk.client.open()
    const stopping = patch<LiveEvent<'queue.changed', null>, number>(['queue'], old => {
      stop()
      return old + 1
    })
    const stop = bridge(desk.client as never, desk.queries, { 'queue.changed': [stopping, invalidate(['queue'])] })
    await stop.ready
    const queue = await shown(desk, ['queue'], 0)
    desk.client.tell({ name: 'queue.changed' })
    await desk.settle(1_000)
    expect(desk.client.subscriptions.size).toBe(0)
    expect(desk.keys()).toEqual([])
    queue.told = 0
    desk.client.tell({ name: 'queue.changed' })
    desk.client.gap()
    await desk.settle(1_000)
    expect(queue.told).toBe(0)
  })

  it('leaves nothing as fresh that a late fetch brings from before an event', async () => {
    const { desk, live } = await started()
    desk.show(['queue'])
    const late = desk.one()
    desk.client.tell({ name: 'queue.changed' })
    live.stop()
    await late.answer('old')
    expect(desk.queries.getQueryState(['queue'])).toMatchObject({ data: 'old', isInvalidated: true })
    expect(desk.keys()).toEqual([])
  })
})
