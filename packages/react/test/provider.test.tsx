// @vitest-environment jsdom
import { act, cleanup, render, renderHook } from '@testing-library/react'
import type { ClientOptions } from '@tidings/client'
import { LiveProvider, useClient, useConnection, useLatest, useLive, useLiveEvents } from '@tidings/react'
import { Activity, type ReactNode, StrictMode, useState } from 'react'
import { hydrateRoot } from 'react-dom/client'
import { renderToString } from 'react-dom/server'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { FakeClient } from '../src/testing.js'

const made: FakeClient[] = []
vi.mock('@tidings/client', async importOriginal => ({
  ...(await importOriginal<object>()),
  createClient: (options: ClientOptions) => {
    const client = new FakeClient(options)
    made.push(client)
    return client
  },
}))

beforeEach(() => {
  made.length = 0
})
afterEach(cleanup)

function around(client: FakeClient) {
  return ({ children }: { children: ReactNode }) => <LiveProvider client={client}>{children}</LiveProvider>
}

/** Those that have connected and are not closed. */
function connected(): FakeClient[] {
  return made.filter(client => client.connects > 0 && client.connection.status !== 'closed')
}

function onlyOne(): FakeClient {
  const [client, second] = connected()
  if (client === undefined || second !== undefined) throw new Error(`${connected().length} clients are connected`)
  return client
}

/** Lets the microtasks run. */
const later = () => act(async () => {})

function Heard({ into = [] }: { into?: unknown[] }) {
  useLiveEvents('a', event => into.push(event.data))
  return <p>{useConnection(connection => connection.status)}</p>
}

describe('LiveProvider', () => {
  it('makes one client, connects with the first listener, and closes it when it goes', async () => {
    const { unmount } = render(
      <LiveProvider options={{}}>
        <Heard />
      </LiveProvider>,
    )
    const client = onlyOne()
    expect(client.connects).toBe(1)
    unmount()
    await later()
    expect(client.closes).toBe(1)
  })

  it('leaves a client open that it was given', async () => {
    const client = new FakeClient()
    const { unmount } = render(
      <LiveProvider client={client}>
        <Heard />
      </LiveProvider>,
    )
    unmount()
    await later()
    expect(client.closes).toBe(0)
    expect(client.subscriptions.size).toBe(0)
  })

  it('has exactly one connection in StrictMode, which loses no event and is closed in the end', async () => {
    const heard: unknown[] = []
    const { unmount } = render(
      <StrictMode>
        <LiveProvider options={{}}>
          <Heard into={heard} />
        </LiveProvider>
      </StrictMode>,
    )
    const client = onlyOne()
    client.tell({ name: 'a', data: 1 })
    await later()
    client.tell({ name: 'a', data: 2 })
    expect(heard).toEqual([1, 2])
    expect([client.connects, client.closes]).toEqual([1, 0])
    unmount()
    await later()
    expect(connected()).toEqual([])
  })

  it('keeps its client for options that say the same, and takes another for others', async () => {
    const heard: unknown[] = []
    const page = (options: ClientOptions) => (
      <LiveProvider options={options}>
        <Heard into={heard} />
      </LiveProvider>
    )
    const { rerender } = render(page({ url: '/hub', query: { libraries: 'l1' }, token: () => 'one' }))
    const first = onlyOne()
    rerender(page({ query: { libraries: 'l1' }, url: '/hub', token: () => 'two' }))
    await later()
    expect(onlyOne()).toBe(first)
    const { token } = first.options
    expect(typeof token === 'function' && token(new AbortController().signal)).toBe('two')
    rerender(page({ url: '/hub', query: { libraries: 'l2' }, token: () => 'two' }))
    await later()
    expect(onlyOne()).not.toBe(first)
    onlyOne().tell({ name: 'a', data: 'of the second' })
    expect(heard).toEqual(['of the second'])
  })

  it('hands a token on as it is, and takes another client for another one', async () => {
    const page = (token: string) => (
      <LiveProvider options={{ token }}>
        <Heard />
      </LiveProvider>
    )
    const { rerender } = render(page('of u1'))
    expect(onlyOne().options.token).toBe('of u1')
    rerender(page('of u2'))
    await later()
    expect(onlyOne().options.token).toBe('of u2')
  })

  it('begins at the cursor that the page came with, but not for another user', async () => {
    const page = (options: ClientOptions) => (
      <LiveProvider options={options}>
        <Heard />
      </LiveProvider>
    )
    const { rerender } = render(page({ scope: 'u1', cursor: 'a' }))
    expect(onlyOne().options.cursor).toBe('a')
    for (const [scope, topics, cursor] of [
      ['u1', 'other', 'a'],
      ['u2', 'other', undefined],
      ['u2', 'another', undefined],
    ] as const) {
      rerender(page({ scope, topics: [topics], cursor: 'a' }))
      await later()
      expect(onlyOne().options.cursor).toBe(cursor)
    }
  })

  it('comes back when it was hidden and is shown again', async () => {
    const heard: unknown[] = []
    const page = (mode: 'visible' | 'hidden') => (
      <Activity mode={mode}>
        <LiveProvider options={{}}>
          <Heard into={heard} />
        </LiveProvider>
      </Activity>
    )
    const { rerender } = render(page('visible'))
    const client = onlyOne()
    rerender(page('hidden'))
    await later()
    expect(connected()).toEqual([])
    rerender(page('visible'))
    await later()
    expect(onlyOne()).toBe(client)
    client.tell({ name: 'a', data: 1 })
    expect(heard).toEqual([1])
  })
})

function Page({ children }: { children?: ReactNode }) {
  const latest = useLatest('a', { initial: 'from the server' })
  const status = useConnection(connection => connection.status)
  useLiveEvents('a', () => {})
  return (
    <p>
      {String(latest.data)} {status} {children}
    </p>
  )
}

describe('on a server', () => {
  it('renders the children and connects to nothing', () => {
    const html = renderToString(
      <LiveProvider options={{ url: 'https://hub.example' }}>
        <Page />
      </LiveProvider>,
    )
    expect(html).toContain('from the server')
    expect(html).toContain('connecting')
    expect(made.flatMap(client => [...client.subscriptions])).toEqual([])
    expect(connected()).toEqual([])
  })

  it('renders what the page then begins with, without a mismatch', async () => {
    const page = (
      <StrictMode>
        <LiveProvider options={{}}>
          <Page />
        </LiveProvider>
      </StrictMode>
    )
    const container = document.createElement('div')
    container.innerHTML = renderToString(page)
    made.length = 0
    const mismatches: unknown[] = []
    const root = await act(async () =>
      hydrateRoot(container, page, { onRecoverableError: error => mismatches.push(error) }),
    )
    await act(async () => onlyOne().open())
    await act(async () => onlyOne().tell({ name: 'a', data: 'live' }))
    expect(container.textContent).toBe('live open ')
    expect(mismatches).toEqual([])
    await act(async () => root.unmount())
    expect(connected()).toEqual([])
  })
})

describe('useLatest', () => {
  it('gives the newest event of the topic, and draws only for those', async () => {
    const client = new FakeClient()
    const drawn: unknown[] = []
    renderHook(() => drawn.push(useLatest('a', { topic: 'x' })?.data), { wrapper: around(client) })
    await act(async () => client.tell({ name: 'a', topic: 'y', data: 0 }, { name: 'b', topic: 'x', data: 0 }))
    await act(async () => client.tell({ name: 'a', topic: 'x', data: 1 }, { name: 'a', topic: 'x', data: 2 }))
    expect(drawn).toEqual([undefined, 2])
  })

  it('has what was there before it came', () => {
    const client = new FakeClient()
    client.tell({ name: 'a', data: 'earlier' })
    const { result } = renderHook(() => useLatest('a')?.data, { wrapper: around(client) })
    expect(result.current).toBe('earlier')
  })

  it('has what another page had heard, and forgets it with a logout', async () => {
    const client = new FakeClient()
    const { result } = renderHook(() => useLatest('a')?.data, { wrapper: around(client) })
    await act(async () => client.join({ name: 'a', data: 'theirs', topic: '', cursor: undefined, time: undefined }))
    expect(result.current).toBe('theirs')
    await act(async () => client.logout())
    expect(result.current).toBe(undefined)
  })
})

describe('useConnection', () => {
  it('draws when what it is asked for changes', async () => {
    const client = new FakeClient()
    const drawn: string[] = []
    renderHook(() => drawn.push(useConnection(connection => connection.status)), { wrapper: around(client) })
    await act(async () => client.open())
    await act(async () => client.open())
    await act(async () => client.cut())
    expect(drawn).toEqual(['connecting', 'open', 'waiting'])
  })
})

describe('useLive', () => {
  it('gives the client of the nearest provider', () => {
    const [outer, inner] = [new FakeClient(), new FakeClient()]
    const { result } = renderHook(() => useLive(), {
      wrapper: ({ children }) => <LiveProvider client={outer}>{around(inner)({ children })}</LiveProvider>,
    })
    expect(result.current).toBe(inner)
  })
})

/** The hook of a media server's own documents, over a client of its own. */
function useSse({
  libraries = [],
  onEvent,
}: {
  libraries?: string[]
  onEvent?: (name: string, data: unknown) => void
} = {}) {
  const client = useClient({
    paths: { sse: '/sse' },
    query: libraries.length > 0 ? { libraries: libraries.join(',') } : {},
    transports: ['sse'],
  })
  useLiveEvents(undefined, event => onEvent?.(event.name, event.data), { client })
  const isConnected = useConnection(connection => connection.status === 'open', { client })
  const error = useConnection(connection => connection.error ?? null, { client })
  return { isConnected, error }
}

interface Media {
  readonly id: string
  readonly name: string
}

/** As in those documents: add what is not there, replace what is, remove what is there. */
function MediaLibrary({ libraries }: { libraries: string[] }) {
  const [medias, setMedias] = useState<readonly Media[]>([])
  const { isConnected } = useSse({
    libraries,
    onEvent: (name, data) => {
      if (name !== 'medias') return
      const { medias: updates } = (data as { Medias: { medias: { action: string; media: Media }[] } }).Medias
      setMedias(current => {
        let updated = [...current]
        for (const { action, media } of updates) {
          const index = updated.findIndex(one => one.id === media.id)
          if (action === 'Added' && index === -1) updated.push(media)
          else if (action === 'Updated' && index !== -1) updated[index] = media
          else if (action === 'Deleted') updated = updated.filter(one => one.id !== media.id)
        }
        return updated
      })
    },
  })
  return (
    <p>
      {isConnected ? 'Connected' : 'Disconnected'}: {medias.map(media => media.name).join(' ')}
    </p>
  )
}

describe('a hook with the interface of another', () => {
  it('useSse({ libraries, onEvent }) returns { isConnected, error } and opens anew for other libraries', async () => {
    const { container, rerender } = render(<MediaLibrary libraries={['l1', 'l2']} />)
    const first = onlyOne()
    expect(first.options).toMatchObject({ paths: { sse: '/sse' }, query: { libraries: 'l1,l2' } })
    expect(container.textContent).toBe('Disconnected: ')
    await act(async () => first.open())
    const change = (action: string, id: string, name: string) => ({
      name: 'medias',
      data: { Medias: { library: 'l1', medias: [{ action, media: { id, name } }] } },
    })
    await act(async () =>
      first.tell(change('Added', '1', 'a'), change('Added', '2', 'b'), change('Added', '1', 'twice')),
    )
    await act(async () =>
      first.tell(change('Updated', '2', 'B'), change('Updated', '3', 'none'), change('Deleted', '1', '')),
    )
    expect(container.textContent).toBe('Connected: B')
    rerender(<MediaLibrary libraries={['l1', 'l2']} />)
    await later()
    expect(onlyOne()).toBe(first)
    rerender(<MediaLibrary libraries={['l3']} />)
    await later()
    expect(onlyOne().options.query).toEqual({ libraries: 'l3' })
  })
})
