import { useMutation, useQuery } from '@tanstack/react-query'
import { useLiveQueries } from '@tidings/react/query'
import { useState } from 'react'
import { Link } from 'wouter'
import { api } from '../api.js'
import { wantedMap } from '../live.js'
import type { Book } from '../model.js'
import { Heading } from '../parts/Heading.js'
import { Loaded } from '../parts/Loaded.js'
import { wanted } from '../queries.js'

export function WantedPage() {
  const [open, setOpen] = useState<number>()
  // The list must not move under a hand that is about to press: while a panel is open, what comes is kept for later.
  useLiveQueries(wantedMap, { paused: open !== undefined })
  return (
    <>
      <div className="head">
        <Heading>Wanted</Heading>
        {open !== undefined && <small>The list waits while you choose.</small>}
      </div>
      <Add />
      <Loaded query={useQuery(wanted)}>
        {books =>
          books.length === 0 ? (
            <p className="empty">Nothing is wanted.</p>
          ) : (
            <ul className="list">
              {books.map(book => (
                <Row
                  key={book.id}
                  book={book}
                  open={open === book.id}
                  toggle={() => setOpen(open === book.id ? undefined : book.id)}
                />
              ))}
            </ul>
          )
        }
      </Loaded>
    </>
  )
}

function Row({ book, open, toggle }: { book: Book; open: boolean; toggle: () => void }) {
  const grab = useMutation({ mutationFn: () => api.post(`books/${book.id}/grab`), onSuccess: toggle })
  return (
    <li data-book={book.id}>
      <span>
        <Link href={`/books/${book.id}`}>{book.title}</Link> <small>{book.author.name}</small>
      </span>
      <button type="button" aria-expanded={open} onClick={toggle}>
        Search
      </button>
      {open && (
        <div className="panel">
          <span>
            {book.title}.epub <small>found at the library</small>
          </span>
          <button type="button" onClick={() => grab.mutate()} disabled={grab.isPending}>
            Grab
          </button>
          {grab.error && <span role="alert">{grab.error.message}</span>}
        </div>
      )}
    </li>
  )
}

function Add() {
  const add = useMutation({
    mutationFn: (form: FormData) =>
      api.post('books', { title: form.get('title'), author: form.get('author'), owned: form.get('owned') === 'on' }),
  })
  return (
    <form
      className="add"
      onSubmit={event => {
        event.preventDefault()
        const form = event.currentTarget
        add.mutate(new FormData(form), { onSuccess: () => form.reset() })
      }}
    >
      <input name="title" placeholder="Title" aria-label="Title" required />
      <input name="author" placeholder="Author" aria-label="Author" required />
      <label>
        <input name="owned" type="checkbox" /> mine alone
      </label>
      <button type="submit" disabled={add.isPending}>
        Want it
      </button>
      {add.error && <span role="alert">{add.error.message}</span>}
    </form>
  )
}
