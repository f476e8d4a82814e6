/** What the pages hear, and what that changes in what they have fetched. */

import { createHooks } from '@tidings/react'
import { invalidate, type LiveMap, patch, remove, upsert, useLiveQueries } from '@tidings/react/query'
import { type ReactNode, useMemo } from 'react'
import type { Events } from './events.generated.js'
import { type BookDetail, byTitle, type QueueItem, type User } from './model.js'
import { allSeries, author, authors, book, books, oneSeries, queue, wanted } from './queries.js'

const { LiveProvider, ...hooks } = createHooks<Events>()
export const { useConnection, useJob, useLive, useLiveEvents } = hooks

const paths = { sse: 'api/v1/events', websocket: 'api/v1/ws', poll: 'api/v1/poll' }

/** The connection of whoever is logged in, and what it keeps up to date on every page. */
export function Live({ user, cursor, children }: { user: User; cursor: string | undefined; children: ReactNode }) {
  // Tabs of one user share a connection; those of another user have their own.
  const options = useMemo(() => ({ paths, scope: user.id, cursor }), [user.id, cursor])
  return (
    <LiveProvider options={options}>
      <Shelf />
      {children}
    </LiveProvider>
  )
}

function Shelf() {
  useLiveQueries(shelf)
  return null
}

type AuthorList = Awaited<ReturnType<NonNullable<typeof authors.queryFn>>>

/** What all queries of a kind begin with: `['book']` of `['book', 7]`. */
const all = (options: { queryKey: readonly unknown[] }) => options.queryKey.slice(0, 1)

/** What an event carries is put in its place; what it does not carry, as numbers that differ by who asks, is fetched anew. */
const shelf: LiveMap<Events> = {
  'book.added': [
    upsert(books.queryKey, { position: byTitle }),
    upsert(all(author(0)), { list: 'list', position: byTitle, rest: event => [event.data.author.id] }),
    invalidate(authors.queryKey),
    invalidate(allSeries.queryKey),
  ],
  'book.updated': [
    upsert(books.queryKey, { position: byTitle }),
    upsert(all(author(0)), { list: 'list', position: byTitle, rest: event => [event.data.author.id] }),
    // It may have been another's, or in another series, until now.
    remove(all(author(0)), { list: 'list', exact: false, where: (event, key) => key[1] !== event.data.author.id }),
    remove(all(oneSeries(0)), {
      list: 'list',
      exact: false,
      where: (event, key) => key.length > 1 && key[1] !== event.data.series?.id,
    }),
    upsert(all(oneSeries(0)), {
      list: 'list',
      rest: event => (event.data.series ? [event.data.series.id] : undefined),
    }),
    patch(all(book(0)), (old: BookDetail, event) => ({ ...old, ...event.data }), { rest: event => [event.data.id] }),
    invalidate(all(book(0)), { rest: event => [event.data.id] }),
  ],
  'book.removed': [
    remove(books.queryKey),
    invalidate(all(book(0)), { rest: event => [event.data.id] }),
    invalidate(all(author(0))),
    invalidate(authors.queryKey),
    invalidate(allSeries.queryKey),
  ],
  'queue.changed': [
    upsert(queue.queryKey, {
      where: event => event.data.action !== 'removed',
      item: event => event.data.item,
      position: 'start',
    }),
    remove(queue.queryKey, { where: event => event.data.action === 'removed', gone: event => event.data.item.id }),
  ],
  'queue.progress': patch(queue.queryKey, (old: readonly QueueItem[], event) =>
    old.map(item => (item.id === event.data.id ? { ...item, ...event.data, book: item.book } : item)),
  ),
  'author.updated': [invalidate(authors.queryKey), invalidate(all(author(0)), { rest: event => [event.data.id] })],
  'author.refresh.progress': patch(authors.queryKey, (old: AuthorList, event) => ({ ...old, refresh: event.data })),
  'author.refresh.finished': [
    patch(authors.queryKey, (old: AuthorList, event) => ({ ...old, refresh: event.data })),
    invalidate(authors.queryKey),
  ],
  'import.finished': [invalidate(authors.queryKey), invalidate(allSeries.queryKey)],
}

/** The wanted books; on the page itself, which holds its list while a panel is open. */
export const wantedMap: LiveMap<Events> = {
  'book.added': upsert(wanted.queryKey, { where: event => event.data.status === 'wanted', position: byTitle }),
  'book.updated': [
    upsert(wanted.queryKey, { where: event => event.data.status === 'wanted', position: byTitle }),
    remove(wanted.queryKey, { where: event => event.data.status !== 'wanted' }),
  ],
  'book.removed': remove(wanted.queryKey),
}
