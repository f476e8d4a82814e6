import type { UseQueryResult } from '@tanstack/react-query'
import type { ReactNode } from 'react'

/** The data once it is there; until then a word, and a sentence if it can't be had. */
export function Loaded<Data>({
  query,
  children,
}: {
  query: UseQueryResult<Data>
  children: (data: Data) => ReactNode
}) {
  if (query.data !== undefined) return children(query.data)
  if (query.error) {
    return (
      <p role="alert" className="alert">
        {query.error.message}{' '}
        <button type="button" onClick={() => query.refetch()}>
          Try again
        </button>
      </p>
    )
  }
  return <p className="empty">Loading…</p>
}
