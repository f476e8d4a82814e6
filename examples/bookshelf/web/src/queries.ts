/** What the pages fetch, each under one key. They fetch once: what changes later is told. */

import { queryOptions } from '@tanstack/react-query'
import { api } from './api.js'
import type { Author, Book, BookDetail, QueueItem, Series, User } from './model.js'

export const me = queryOptions({ queryKey: ['me'], queryFn: () => api.get<User>('auth/me'), retry: false })

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
  queryFn: async () => (await api.get<{ authors: Author[] }>('authors')).authors,
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
