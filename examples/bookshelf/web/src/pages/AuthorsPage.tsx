import { useMutation, useQuery } from '@tanstack/react-query'
import { useState } from 'react'
import { Link } from 'wouter'
import { api } from '../api.js'
import { useLatest, useLiveEvents } from '../live.js'
import { Bar } from '../parts/Bar.js'
import { Loaded } from '../parts/Loaded.js'
import { authors } from '../queries.js'
import { when } from '../words.js'

export function AuthorsPage() {
  const query = useQuery(authors)
  const refresh = useMutation({ mutationFn: () => api.post('authors/refresh-all') })
  const progress = useLatest('author.refresh.progress')?.data
  const [running, setRunning] = useState(false)
  useLiveEvents(['author.refresh.progress', 'author.refresh.finished'], event =>
    setRunning(event.name === 'author.refresh.progress'),
  )
  const part = running && progress && progress.total > 0 ? progress.done / progress.total : undefined
  return (
    <>
      <div className="head">
        <h1>Authors</h1>
        <button type="button" onClick={() => refresh.mutate()} disabled={running || refresh.isPending}>
          Refresh all
        </button>
        {part !== undefined && progress && (
          <span className="running">
            <Bar part={part} label="Authors refreshed" /> {progress.done} of {progress.total}
          </span>
        )}
      </div>
      {refresh.error && (
        <p role="alert" className="alert">
          {refresh.error.message}
        </p>
      )}
      <Loaded query={query}>
        {all => (
          <table>
            <thead>
              <tr>
                <th>Name</th>
                <th>Books</th>
                <th>Refreshed</th>
              </tr>
            </thead>
            <tbody>
              {all.map(author => (
                <tr key={author.id} data-author={author.id}>
                  <td>
                    <Link href={`/authors/${author.id}`}>{author.name}</Link>
                  </td>
                  <td>{author.books}</td>
                  <td>{author.refreshedAt === null ? 'never' : when(author.refreshedAt)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        )}
      </Loaded>
    </>
  )
}
