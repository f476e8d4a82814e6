import type { Client } from '@tidings/client'
import { useSomeClient } from './context.js'
import type { RegisteredEvents } from './register.js'

/** The client of the provider above. */
export function useLive(): Client<RegisteredEvents> {
  return useSomeClient(undefined) as unknown as Client<RegisteredEvents>
}
