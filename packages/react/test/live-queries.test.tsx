// @vitest-environment jsdom
import { QueryClient, QueryClientProvider, useQuery } from '@tanstack/react-query'
import { act, cleanup, render } from '@testing-library/react'
import { LiveProvider } from '@tidings/react'
import { invalidate, type LiveMap, patch, upsert, useLiveQueries } from '@tidings/react/query'
import { type ReactNode, StrictMode } from 'react'
import { renderToString } from 'react-dom/server'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { FakeClient } from '../src/testing.js'

interface Book {
  readonly id: number
  readonly title: string
}
type Events = { 'book.updated': Book; 'queue.changed': null }

afterEach(cleanup)

interface Drawn {
  count: number
}

/** A page with two queries and the bridge, whose map is written anew at each rendering. */
function Books({
  drawn,
  fetchBooks,
  wait = false,
  paused,
}: {
  drawn: Drawn
  fetchBooks: () => Promise<Book[]>
  wait?: boolean
  paused?: boolean
}) {
  const map: LiveMap<Events> = {
    'book.updated': [upsert(['books']), patch(['last'], (_old: string, event) => event.data.title)],
    'queue.changed': invalidate(['books']),
  }
  const { ready } = useLiveQueries<Events>(map, { paused })
  const books = useQuery({ queryKey: ['books'], queryFn: fetchBooks, enabled: !wait || ready })
  const count = useQuery({
    queryKey: ['books'],
    queryFn: fetchBooks,
    select: list => list.length,
    enabled: !wait || ready,
  })
  const last = useQuery({ queryKey: ['last'], queryFn: () => 'none', enabled: !wait || ready })
  drawn.count += 1
  return (
    <p>
      {books.data?.map(book => book.title).join(' ')} {count.data} {last.data}
    </p>
  )
}

const LATE: LiveMap<Events> = { 'book.updated': upsert(['books']) }

/** A page whose queries come before its bridge. */
function Late({ fetchBooks }: { fetchBooks: () => Promise<Book[]> }) {
  const books = useQuery({ queryKey: ['books'], queryFn: fetchBooks })
  useLiveQueries<Events>(LATE)
  return <p>{books.data?.length}</p>
}

/** What an app has around all pages. */
function App() {
  useLiveQueries<Events>(LATE)
  return null
}

function setUp(page: (drawn: Drawn, fetchBooks: () => Promise<Book[]>) => ReactNode, client = new FakeClient()) {
  const queries = new QueryClient({
    defaultOptions: { queries: { staleTime: Number.POSITIVE_INFINITY, retry: false } },
  })
  const drawn: Drawn = { count: 0 }
  const fetchBooks = vi.fn(async () => [{ id: 1, title: 'A' }])
  const whole = (content: ReactNode) => (
    <QueryClientProvider client={queries}>
      <LiveProvider client={client}>{content}</LiveProvider>
    </QueryClientProvider>
  )
  const view = render(whole(page(drawn, fetchBooks)))
  return { ...view, client, queries, drawn, fetchBooks, whole }
}

/** Until the timers of the notify manager, which take no time, have run. */
const settled = () => act(() => new Promise(resolve => setTimeout(resolve)))

describe('useLiveQueries', () => {
  it('draws once for a batch of 10,000 events that change several queries', async () => {
    const { client, drawn, container } = setUp((drawn, fetchBooks) => <Books drawn={drawn} fetchBooks={fetchBooks} />)
    await act(async () => client.open())
    await settled()
    const before = drawn.count
    await act(async () =>
      client.tell(
        ...Array.from({ length: 10_000 }, (_, index) => ({
          name: 'book.updated',
          data: { id: index % 100, title: `${index}` },
        })),
      ),
    )
    await settled()
    expect(container.textContent).toMatch(/9999.* 100 9999$/)
    expect(drawn.count - before).toBe(1)
  })

  it('has one bridge in StrictMode, which applies each event once, and none when it is gone', async () => {
    const { client, container, unmount, queries } = setUp((drawn, fetchBooks) => (
      <StrictMode>
        <Books drawn={drawn} fetchBooks={fetchBooks} />
      </StrictMode>
    ))
    await act(async () => client.open())
    await settled()
    expect(client.subscriptions.size).toBe(1)
    await act(async () => client.tell({ name: 'book.updated', data: { id: 2, title: 'B' } }))
    await settled()
    expect(container.textContent).toBe('A B 2 B')
    unmount()
    expect(client.subscriptions.size).toBe(0)
    client.tell({ name: 'book.updated', data: { id: 3, title: 'C' } })
    expect(queries.getQueryData(['books'])).toHaveLength(2)
  })

  it('fetches once at the beginning what waits until it is ready', async () => {
    const { client, fetchBooks, container } = setUp((drawn, fetchBooks) => (
      <Books wait drawn={drawn} fetchBooks={fetchBooks} />
    ))
    await settled()
    expect(fetchBooks).not.toHaveBeenCalled()
    await act(async () => client.open())
    await settled()
    expect(container.textContent).toBe('A 1 none')
    expect(fetchBooks).toHaveBeenCalledTimes(1)
  })

  it('fetches once what comes onto the page together with it, where a bridge of the app hears the same topics', async () => {
    const client = new FakeClient()
    client.open()
    const app = (page: ReactNode) => (
      <>
        <App />
        {page}
      </>
    )
    const { fetchBooks, container, rerender, whole } = setUp(() => app(null), client)
    await settled()
    rerender(whole(app(<Late fetchBooks={fetchBooks} />)))
    await settled()
    expect(container.textContent).toBe('1')
    expect(fetchBooks).toHaveBeenCalledTimes(1)
  })

  it('holds the page still while it is paused', async () => {
    const { client, container, rerender, whole, drawn, fetchBooks } = setUp((drawn, fetchBooks) => (
      <Books paused drawn={drawn} fetchBooks={fetchBooks} />
    ))
    await act(async () => client.open())
    await settled()
    await act(async () => client.tell({ name: 'book.updated', data: { id: 2, title: 'B' } }))
    await settled()
    expect(container.textContent).toBe('A 1 none')
    rerender(whole(<Books paused={false} drawn={drawn} fetchBooks={fetchBooks} />))
    await settled()
    expect(container.textContent).toBe('A B 2 B')
  })

  it('does nothing on a server', () => {
    const client = new FakeClient()
    const html = renderToString(
      <QueryClientProvider client={new QueryClient()}>
        <LiveProvider client={client}>
          <Books wait drawn={{ count: 0 }} fetchBooks={() => Promise.reject(new Error('asked'))} />
        </LiveProvider>
      </QueryClientProvider>,
    )
    expect(html).toContain('<p>')
    expect([client.connects, client.subscribed]).toEqual([0, 0])
  })
})
