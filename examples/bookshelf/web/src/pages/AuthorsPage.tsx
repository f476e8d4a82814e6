import { useMutation, useQuery } from '@tanstack/react-query'
import { Link } from 'wouter'
import { api } from '../api.js'
import { Bar } from '../parts/Bar.js'
import { Heading } from '../parts/Heading.js'
import { Loaded } from '../parts/Loaded.js'
import { authors } from '../queries.js'
import { when } from '../words.js'

export function AuthorsPage() {
  const query = useQuery(authors)
  const refresh = useMutation({ mutationFn: () => api.post('authors/refresh-all') })
  const running = query.data?.refresh?.status === 'running' ? query.data.refresh : undefined
  return (
    <>
      <div className="head">
        <Heading>Authors</Heading>
        <button type="button" onClick={() => refresh.mutate()} disabled={running !== undefined || refresh.isPending}>
          Refresh all
        </button>
        {running && (
          <span className="running">
            <Bar part={running.done / Math.max(1, running.total)} label="Authors refreshed" /> {running.done} of{' '}
            {running.total}
          </span>
        )}
      </div>
      {refresh.error && (
        <p role="alert" className="alert">
          {refresh.error.message}
        </p>
      )}
      <Loaded query={query}>
        {({ authors }) => (
          <table>
            <thead>
              <tr>
                <th>Name</th>
                <th>Books</th>
                <th>Refreshed</th>
              </tr>
            </thead>
            <tbody>
              {authors.map(author => (
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
