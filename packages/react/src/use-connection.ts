import type { Connection } from '@tidings/client'
import { useCallback, useSyncExternalStore } from 'react'
import { useSomeClient } from './context.js'

/** What a server renders, and a page until it has connected. */
const BEFORE: Connection = {
  status: 'connecting',
  transport: undefined,
  sharing: 'none',
  cursor: undefined,
  attempt: 0,
  retryAt: undefined,
  error: undefined,
}

export interface ConnectionOptions {
  /** Another client than the provider's. */
  readonly client?: object | undefined
}

/** How the connection is. That its `cursor` moves, with each batch, is no reason to draw. */
export function useConnection(): Connection
/** A part of how the connection is: `useConnection(connection => connection.status)`. Draws only when that changes, so it is not made anew. */
export function useConnection<Part>(part: (connection: Connection) => Part, options?: ConnectionOptions): Part
export function useConnection(
  part: (connection: Connection) => unknown = connection => connection,
  options: ConnectionOptions = {},
): unknown {
  const client = useSomeClient(options.client)
  const subscribe = useCallback((changed: () => void) => client.onConnection(changed), [client])
  return useSyncExternalStore(
    subscribe,
    () => part(client.connection),
    () => part(BEFORE),
  )
}
