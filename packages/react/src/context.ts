import type { Client } from '@tidings/client'
import { type Context, createContext, useContext } from 'react'

/** The client of the nearest LiveProvider. */
export const LiveContext: Context<Client | undefined> = createContext<Client | undefined>(undefined)

/** The client that a hook works with: the one it was given, else the provider's. */
export function useSomeClient(given: object | undefined): Client {
  const provided = useContext(LiveContext)
  const client = (given as Client | undefined) ?? provided
  if (client === undefined) throw new Error('there is no <LiveProvider> above this component')
  return client
}
