import type { CSSProperties } from 'react'
import type { Book } from '../model.js'

/** The cover, or the title on a plain board of the book's own colour. */
export function Cover({ book }: { book: Pick<Book, 'id' | 'title' | 'cover' | 'author'> }) {
  if (book.cover) return <img className="cover" src={book.cover} alt={`Cover of ${book.title}`} />
  return (
    <div className="cover board" style={{ '--hue': (book.id * 47) % 360 } as CSSProperties} aria-hidden="true">
      <b>{book.title}</b>
      <span>{book.author.name}</span>
    </div>
  )
}
