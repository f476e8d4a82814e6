/** What the pages fetch, each under one key. They fetch once: what changes later is told. */

import { queryOptions } from '@tanstack/react-query'
import { api } from './api.js'
import type { Author, Book, BookDetail, QueueItem, Refresh, Series, User } from './model.js'

/** Who is logged in. It is asked first, and so its place is the one to listen from: whatever is fetched later is newer. */
export const me = queryOptions({
  queryKey: ['me'],
  queryFn: async () => {
    const { answer, cursor } = await api.placed<User>('auth/me')
    return { ...answer, cursor }
  },
  retry: false,
})

export const books = queryOptions({
  queryKey: ['books'],
  queryFn: async () => (await api.get<{ books: Book[] }>('books')).books,
})

export const book = (id: number) =>
  queryOptions({ queryKey: ['book', id], queryFn: () => api.get<BookDetail>(`books/${id}`) })

export const wanted = queryOptions({
  queryKey: ['wanted'],
  queryFn: async () => (await api.get<{ books: Book[] }>('wanted')).books,
})

export const queue = queryOptions({
  queryKey: ['queue'],
  queryFn: async () => (await api.get<{ items: QueueItem[] }>('queue')).items,
})

export const authors = queryOptions({
  queryKey: ['authors'],
  queryFn: () => api.get<{ readonly authors: readonly Author[]; readonly refresh: Refresh | null }>('authors'),
})

export const author = (id: number) =>
  queryOptions({
    queryKey: ['author', id],
    queryFn: () => api.get<Author & { readonly list: Book[] }>(`authors/${id}`),
  })

export const allSeries = queryOptions({
  queryKey: ['series'],
  queryFn: async () => (await api.get<{ series: Series[] }>('series')).series,
})

export const oneSeries = (id: number) =>
  queryOptions({
    queryKey: ['series', id],
    queryFn: () => api.get<Series & { readonly list: Book[] }>(`series/${id}`),
  })
