// @vitest-environment jsdom
import { act, cleanup, render, renderHook } from '@testing-library/react'
import type { LiveEvent } from '@tidings/client'
import { LiveProvider, useLiveEvents } from '@tidings/react'
import { type ReactNode, StrictMode, useState } from 'react'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { FakeClient } from '../src/testing.js'

afterEach(() => {
  cleanup()
  vi.useRealTimers()
})

function around(client: FakeClient) {
  return ({ children }: { children: ReactNode }) => <LiveProvider client={client}>{children}</LiveProvider>
}

interface Drawn {
  batch: number
  single: number
}

function Batch({ drawn }: { drawn: Drawn }) {
  const [events, setEvents] = useState<readonly LiveEvent[]>([])
  useLiveEvents('a', more => setEvents(old => [...old, ...more]), { batch: true })
  drawn.batch += 1
  return <p>{events.length}</p>
}

function Single({ drawn }: { drawn: Drawn }) {
  const [count, setCount] = useState(0)
  useLiveEvents('a', () => setCount(old => old + 1))
  drawn.single += 1
  return <b>{count}</b>
}

describe('useLiveEvents', () => {
  it('calls the newest handler and subscribes once, whatever is drawn', () => {
    const client = new FakeClient()
    const heard: string[] = []
    const { rerender } = renderHook(
      ({ who }) =>
        useLiveEvents(['book.updated'], event => heard.push(`${who} ${String(event.data)}`), { topics: ['book/*'] }),
      { wrapper: around(client), initialProps: { who: 'first' } },
    )
    client.tell({ name: 'book.updated', topic: 'book/1', data: 1 })
    rerender({ who: 'second' })
    client.tell({ name: 'book.updated', topic: 'book/1', data: 2 })
    expect(heard).toEqual(['first 1', 'second 2'])
    expect(client.subscribed).toBe(1)
  })

  it('takes other types and topics without ending its subscription', () => {
    const client = new FakeClient()
    const heard: unknown[] = []
    const { rerender } = renderHook(
      ({ types, topics }) => useLiveEvents(types, event => heard.push(event.data), { topics }),
      {
        wrapper: around(client),
        initialProps: { types: ['a'], topics: ['x'] },
      },
    )
    rerender({ types: ['a', 'b'], topics: ['x', 'y'] })
    client.tell({ name: 'b', topic: 'y', data: 1 }, { name: 'b', topic: 'z', data: 2 })
    expect(heard).toEqual([1])
    expect(client.subscribed).toBe(1)
    expect(client.subscriptions.size).toBe(1)
  })

  it('hears everything without types', () => {
    const client = new FakeClient()
    const heard: string[] = []
    renderHook(() => useLiveEvents(undefined, event => heard.push(event.name)), { wrapper: around(client) })
    client.tell({ name: 'a' }, { name: 'b' })
    expect(heard).toEqual(['a', 'b'])
  })

  it('hears nothing while it is not enabled, nor after it is gone', () => {
    const client = new FakeClient()
    const handler = vi.fn()
    const { rerender, unmount } = renderHook(({ enabled }) => useLiveEvents('a', handler, { enabled }), {
      wrapper: around(client),
      initialProps: { enabled: false },
    })
    client.tell({ name: 'a' })
    rerender({ enabled: true })
    client.tell({ name: 'a' })
    rerender({ enabled: false })
    client.tell({ name: 'a' })
    rerender({ enabled: true })
    unmount()
    client.tell({ name: 'a' })
    expect(handler).toHaveBeenCalledTimes(1)
    expect(client.subscriptions.size).toBe(0)
  })

  it('draws once for a burst of 10,000 events, in one call or in 10,000', () => {
    const client = new FakeClient()
    const drawn = { batch: 0, single: 0 }
    const { container } = render(
      <LiveProvider client={client}>
        <Batch drawn={drawn} />
        <Single drawn={drawn} />
      </LiveProvider>,
    )
    expect(drawn).toEqual({ batch: 1, single: 1 })
    act(() => client.tell(...Array.from({ length: 10_000 }, (_, index) => ({ name: 'a', data: index }))))
    expect(container.textContent).toBe('1000010000')
    expect(drawn).toEqual({ batch: 2, single: 2 })
  })

  it('keeps events while it is paused, and hands them over in order, gaps among them', () => {
    const client = new FakeClient()
    const heard: unknown[] = []
    const { rerender } = renderHook(
      ({ paused }) =>
        useLiveEvents('a', event => heard.push(event.data), { paused, onGap: gap => heard.push(gap.reason) }),
      { wrapper: around(client), initialProps: { paused: true } },
    )
    client.tell({ name: 'a', data: 1 }, { name: 'a', data: 2 })
    client.gap('trimmed')
    client.tell({ name: 'a', data: 3 })
    expect(heard).toEqual([])
    rerender({ paused: false })
    client.tell({ name: 'a', data: 4 })
    expect(heard).toEqual([1, 2, 'trimmed', 3, 4])
  })

  it('hands over what was kept in one call, if it takes batches', () => {
    const client = new FakeClient()
    const heard: unknown[][] = []
    const { rerender } = renderHook(
      ({ paused }) =>
        useLiveEvents('a', events => heard.push(events.map(event => event.data)), { paused, batch: true }),
      { wrapper: around(client), initialProps: { paused: false } },
    )
    rerender({ paused: true })
    client.tell({ name: 'a', data: 1 })
    client.tell({ name: 'a', data: 2 })
    rerender({ paused: false })
    expect(heard).toEqual([[1, 2]])
  })

  it('tells a gap instead of keeping more than it may', () => {
    const client = new FakeClient()
    const heard: unknown[] = []
    const { rerender } = renderHook(
      ({ paused }) =>
        useLiveEvents('a', event => heard.push(event.data), { paused, hold: 2, onGap: gap => heard.push(gap.atMost) }),
      { wrapper: around(client), initialProps: { paused: true } },
    )
    for (const data of [1, 2, 3, 4]) client.tell({ name: 'a', data })
    rerender({ paused: false })
    expect(heard).toEqual([3, 4])
  })

  it('reports a handler that throws, and goes on', () => {
    const onError = vi.fn()
    const client = new FakeClient({ onError })
    const heard: unknown[] = []
    const broken = new Error('broken')
    renderHook(
      () =>
        useLiveEvents('a', event => {
          if (event.data === 1) throw broken
          heard.push(event.data)
        }),
      { wrapper: around(client) },
    )
    client.tell({ name: 'a', data: 1 }, { name: 'a', data: 2 })
    expect(heard).toEqual([2])
    expect(onError).toHaveBeenCalledWith(expect.objectContaining({ code: 'handler', cause: broken }))
  })

  it('reports an async handler that rejects, and one for gaps', async () => {
    const onError = vi.fn()
    const client = new FakeClient({ onError })
    const broken = async () => {
      throw new Error('later')
    }
    renderHook(() => useLiveEvents('a', broken, { onGap: broken }), { wrapper: around(client) })
    client.tell({ name: 'a' })
    client.gap()
    await act(async () => {})
    expect(onError.mock.calls.map(([error]) => [error.code, error.cause.message])).toEqual([
      ['handler', 'later'],
      ['handler', 'later'],
    ])
  })

  it('says when to fetch: once the place is known, and again for other topics and after it was not enabled', async () => {
    const client = new FakeClient()
    const onReady = vi.fn()
    const { rerender, unmount } = renderHook(
      ({ topics, enabled }) => useLiveEvents('a', () => {}, { topics, enabled, onReady: () => onReady(topics[0]) }),
      { wrapper: around(client), initialProps: { topics: ['x'], enabled: true } },
    )
    const told = async () => {
      await act(async () => {})
      return onReady.mock.calls.splice(0).flat()
    }
    expect(await told()).toEqual([])
    client.open()
    expect(await told()).toEqual(['x'])
    rerender({ topics: ['x'], enabled: true })
    client.cut()
    client.open()
    expect(await told()).toEqual([])
    rerender({ topics: ['y'], enabled: true })
    expect(await told()).toEqual(['y'])
    rerender({ topics: ['y'], enabled: false })
    expect(await told()).toEqual([])
    rerender({ topics: ['y'], enabled: true })
    unmount()
    expect(await told()).toEqual([])
  })

  it('lets an app fetch whose hub is away or slow, and once more when it is there', async () => {
    vi.useFakeTimers()
    const [away, slow] = [new FakeClient(), new FakeClient()]
    const ready = { away: vi.fn(), slow: vi.fn() }
    const told = () => [ready.away, ready.slow].map(({ mock }) => mock.calls.length)
    renderHook(() => useLiveEvents('a', () => {}, { onReady: ready.away }), { wrapper: around(away) })
    renderHook(() => useLiveEvents('a', () => {}, { onReady: ready.slow }), { wrapper: around(slow) })
    away.cut()
    await vi.advanceTimersByTimeAsync(1_999)
    expect(told()).toEqual([1, 0])
    away.close()
    await vi.advanceTimersByTimeAsync(60_000)
    expect(told()).toEqual([1, 1])
    away.reconnect()
    away.open()
    slow.open()
    await vi.advanceTimersByTimeAsync(60_000)
    expect(told()).toEqual([2, 2])
  })

  it('hears each event once in StrictMode', () => {
    const client = new FakeClient()
    const heard: unknown[] = []
    renderHook(() => useLiveEvents('a', event => heard.push(event.data)), {
      wrapper: ({ children }) => <StrictMode>{around(client)({ children })}</StrictMode>,
    })
    client.tell({ name: 'a', data: 1 })
    expect(heard).toEqual([1])
    expect(client.subscriptions.size).toBe(1)
    expect(client.connects).toBe(1)
  })

  it('hears no more of a batch in the midst of which it goes', () => {
    const client = new FakeClient()
    const heard: unknown[] = []
    const { unmount } = renderHook(
      () =>
        useLiveEvents('a', event => {
          heard.push(event.data)
          unmount()
        }),
      { wrapper: around(client) },
    )
    client.tell({ name: 'a', data: 1 }, { name: 'a', data: 2 })
    expect(heard).toEqual([1])
  })

  it('says what is missing without a provider', () => {
    vi.spyOn(console, 'error').mockImplementation(() => {})
    expect(() => renderHook(() => useLiveEvents('a', () => {}))).toThrow('no <LiveProvider>')
  })
})
