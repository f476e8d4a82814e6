import type { Book, QueueItem } from './model.js'
export interface Events {
  'book.added': Book
  'book.updated': Book
  'book.removed': { id: number }
  'queue.changed': { action: 'added' | 'updated' | 'removed'; item: QueueItem }
  'queue.progress': { id: number; bookId: number; percent: number; speed: string | null }
  'author.updated': { id: number; name: string; refreshedAt: number | null }
  'author.refresh.progress': { status: string; total: number; done: number; failed: number; started_at: string }
  'author.refresh.finished': { status: string; total: number; done: number; failed: number; started_at: string }
  'import.finished': { job: string }
}
