import { useMutation, useQuery } from '@tanstack/react-query'
import { Link, useLocation } from 'wouter'
import { api } from '../api.js'
import { Bar } from '../parts/Bar.js'
import { Cover } from '../parts/Cover.js'
import { Heading } from '../parts/Heading.js'
import { Loaded } from '../parts/Loaded.js'
import { Status } from '../parts/Status.js'
import { book, queue } from '../queries.js'
import { size, when } from '../words.js'

export function BookPage({ id }: { id: number }) {
  const query = useQuery(book(id))
  const download = useQuery(queue).data?.find(item => item.book.id === id)
  const [, go] = useLocation()
  const grab = useMutation({ mutationFn: () => api.post(`books/${id}/grab`) })
  const remove = useMutation({ mutationFn: () => api.delete(`books/${id}`), onSuccess: () => go('/') })
  return (
    <Loaded query={query}>
      {book => (
        <article className="book" data-book={book.id} data-status={book.status}>
          <Cover book={book} />
          <div>
            <Heading>{book.title}</Heading>
            <p>
              <Link href={`/authors/${book.author.id}`}>{book.author.name}</Link>
              {book.series && (
                <>
                  {' · '}
                  <Link href={`/series/${book.series.id}`}>
                    {book.series.name}
                    {book.series.index !== null && ` ${book.series.index}`}
                  </Link>
                </>
              )}
            </p>
            <p>
              <Status of={book.status} /> {book.owner !== null && <span className="status">yours alone</span>}
            </p>
            {download && (
              <p>
                <Bar part={download.percent / 100} label="Download" /> {Math.round(download.percent)} % {download.speed}
              </p>
            )}
            <p>
              {book.file ? (
                <>
                  {book.file.name} <small>({size(book.file.bytes)})</small>
                </>
              ) : (
                'No file yet'
              )}
            </p>
            <p className="actions">
              {book.status === 'wanted' && (
                <button type="button" onClick={() => grab.mutate()} disabled={grab.isPending}>
                  Download
                </button>
              )}
              <button
                type="button"
                className="quiet"
                onClick={() => confirm(`Remove ${book.title}?`) && remove.mutate()}
              >
                Remove
              </button>
            </p>
            {(grab.error ?? remove.error) && (
              <p role="alert" className="alert">
                {(grab.error ?? remove.error)?.message}
              </p>
            )}
            <h2>History</h2>
            <ol className="history">
              {book.history.map(entry => (
                <li key={`${entry.at} ${entry.what}`}>
                  <time dateTime={new Date(entry.at).toISOString()}>{when(entry.at)}</time> {entry.what}
                </li>
              ))}
            </ol>
          </div>
        </article>
      )}
    </Loaded>
  )
}
