import { useQuery } from '@tanstack/react-query'
import { useDeferredValue, useState } from 'react'
import type { BookStatus } from '../model.js'
import { BookGrid } from '../parts/BookGrid.js'
import { Heading } from '../parts/Heading.js'
import { Loaded } from '../parts/Loaded.js'
import { books } from '../queries.js'

const statuses: readonly BookStatus[] = ['imported', 'downloaded', 'downloading', 'wanted', 'skipped']

export function BooksPage() {
  const [text, setText] = useState('')
  const [status, setStatus] = useState<BookStatus | ''>('')
  const search = useDeferredValue(text.trim().toLowerCase())
  const query = useQuery(books)
  return (
    <>
      <div className="head">
        <Heading>Books</Heading>
        <input
          type="search"
          placeholder="Title or author"
          aria-label="Search"
          value={text}
          onChange={event => setText(event.target.value)}
        />
        <select aria-label="Status" value={status} onChange={event => setStatus(event.target.value as BookStatus | '')}>
          <option value="">All</option>
          {statuses.map(name => (
            <option key={name}>{name}</option>
          ))}
        </select>
      </div>
      <Loaded query={query}>
        {all => (
          <BookGrid
            books={all.filter(
              book =>
                (!status || book.status === status) &&
                (!search || `${book.title} ${book.author.name}`.toLowerCase().includes(search)),
            )}
            empty={all.length ? 'No book is like that.' : 'The shelf is empty. Drop an .epub into the watch folder.'}
          />
        )}
      </Loaded>
    </>
  )
}
