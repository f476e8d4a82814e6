/** What the app's API speaks of; `src/events.generated.ts` has what its events carry. */

export type Role = 'admin' | 'member'

export interface User {
  readonly id: string
  readonly name: string
  readonly role: Role
}

export type BookStatus = 'wanted' | 'downloading' | 'downloaded' | 'imported' | 'skipped'

export interface Book {
  readonly id: number
  readonly title: string
  readonly author: { readonly id: number; readonly name: string }
  readonly series: { readonly id: number; readonly name: string; readonly index: number | null } | null
  readonly status: BookStatus
  /** The user it belongs to; nobody's is everybody's. */
  readonly owner: string | null
  readonly cover: string | null
  readonly file: { readonly name: string; readonly format: string; readonly bytes: number } | null
  readonly addedAt: number
  readonly updatedAt: number
  readonly revision: number
}

/** The order that the server has them in: by title, without an article before it. */
export function byTitle(a: Book, b: Book): number {
  const [left, right] = [a, b].map(book => sortKey(book.title))
  return left === right ? a.id - b.id : (left ?? '') < (right ?? '') ? -1 : 1
}

function sortKey(title: string): string {
  const words = title.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? []
  return (words.length > 1 && /^(the|a|an)$/.test(words[0] ?? '') ? words.slice(1) : words).join(' ')
}

export interface BookDetail extends Book {
  readonly history: readonly { readonly at: number; readonly what: string }[]
}

export interface Author {
  readonly id: number
  readonly name: string
  readonly books: number
  readonly refreshedAt: number | null
}

/** How far the refresh of all authors is, or how the last one ended. */
export interface Refresh {
  readonly status: 'running' | 'completed' | 'canceled' | 'failed'
  readonly total: number
  readonly done: number
  readonly failed: number
}

export interface Series {
  readonly id: number
  readonly name: string
  readonly books: number
}

export type QueueStatus = 'grabbed' | 'downloading' | 'completed' | 'importing' | 'imported' | 'failed'

export interface QueueItem {
  readonly id: number
  readonly book: { readonly id: number; readonly title: string }
  readonly status: QueueStatus
  readonly percent: number
  readonly speed: string | null
  readonly error: string | null
  readonly addedAt: number
}
