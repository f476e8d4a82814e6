import { useMutation, useQuery } from '@tanstack/react-query'
import { Link } from 'wouter'
import { api } from '../api.js'
import type { QueueItem } from '../model.js'
import { Bar } from '../parts/Bar.js'
import { Heading } from '../parts/Heading.js'
import { Loaded } from '../parts/Loaded.js'
import { Status } from '../parts/Status.js'
import { queue } from '../queries.js'

export function QueuePage() {
  return (
    <>
      <div className="head">
        <Heading>Queue</Heading>
      </div>
      <Loaded query={useQuery(queue)}>
        {items =>
          items.length === 0 ? (
            <p className="empty">
              Nothing is on its way. Grab a book on <Link href="/wanted">Wanted</Link>.
            </p>
          ) : (
            <table className="stacked">
              <thead>
                <tr>
                  <th>Book</th>
                  <th>State</th>
                  <th>Progress</th>
                  <th>
                    <span className="hidden">Actions</span>
                  </th>
                </tr>
              </thead>
              <tbody>
                {items.map(item => (
                  <Row key={item.id} item={item} />
                ))}
              </tbody>
            </table>
          )
        }
      </Loaded>
    </>
  )
}

function Row({ item }: { item: QueueItem }) {
  const retry = useMutation({ mutationFn: () => api.post(`queue/${item.id}/retry`) })
  const remove = useMutation({ mutationFn: () => api.delete(`queue/${item.id}`) })
  return (
    <tr data-download={item.id} data-status={item.status}>
      <td>
        <Link href={`/books/${item.book.id}`}>{item.book.title}</Link>
      </td>
      <td>
        <Status of={item.status} />
      </td>
      <td>
        {item.error ?? (
          <>
            <Bar part={item.percent / 100} label={`Download of ${item.book.title}`} /> {Math.round(item.percent)} %{' '}
            <small>{item.speed}</small>
          </>
        )}
      </td>
      <td className="actions">
        {item.status === 'failed' && (
          <button type="button" onClick={() => retry.mutate()} disabled={retry.isPending}>
            Try again
          </button>
        )}
        <button type="button" className="quiet" onClick={() => remove.mutate()} disabled={remove.isPending}>
          Remove
        </button>
        {(retry.error ?? remove.error) && (
          <p role="alert" className="alert">
            {(retry.error ?? remove.error)?.message}
          </p>
        )}
      </td>
    </tr>
  )
}
