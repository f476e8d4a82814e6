import { memo } from 'react'
import { Link } from 'wouter'
import type { Book } from '../model.js'
import { Cover } from './Cover.js'
import { Status } from './Status.js'

export function BookGrid({ books, empty }: { books: readonly Book[]; empty: string }) {
  if (books.length === 0) return <p className="empty">{empty}</p>
  return (
    <ul className="grid">
      {books.map(book => (
        <Card key={book.id} book={book} />
      ))}
    </ul>
  )
}

/** Drawn again only if its own book changed. */
const Card = memo(function Card({ book }: { book: Book }) {
  return (
    <li data-book={book.id} data-status={book.status}>
      <Link href={`/books/${book.id}`}>
        <Cover book={book} />
        <strong>{book.title}</strong>
      </Link>
      <small>{book.author.name}</small>
      <Status of={book.status} />
    </li>
  )
})
