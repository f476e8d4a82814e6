import { type Client, type ClientOptions, createClient } from '@tidings/client'
import { type RefObject, useEffect, useState } from 'react'
import { Holding } from './holding.js'
import { useNewest } from './newest.js'
import type { RegisteredEvents } from './register.js'

/**
 * A client of this component's own. It is closed when the component goes.
 *
 * Options that say the same are the same. Others make another client, except for `cursor` and `environment`, which count at
 * the beginning, and functions, of which the newest is called.
 */
export function useClient<Events extends object = RegisteredEvents>(options: ClientOptions): Client<Events> {
  return useMaybeClient(options) as unknown as Client<Events>
}

/** The same, but none without options. */
export function useMaybeClient(options: ClientOptions | undefined): Client | undefined {
  const newest = useNewest(options)
  const key = options === undefined ? '' : keyOf(options)
  const make = (before?: Client) =>
    options === undefined ? undefined : new Holding(key, createClient(forwarding(options, newest, before)))
  const [kept, keep] = useState(() => make())
  let holding = kept
  if ((kept?.key ?? '') !== key) {
    holding = make(kept?.client)
    keep(holding)
  }
  useEffect(() => holding?.retain(), [holding])
  return holding?.client
}

/** All that makes a difference to a connection, as a string. */
function keyOf(options: ClientOptions): string {
  const { token, onError, worker, cursor: _cursor, environment: _environment, ...settings } = options
  const given = [typeof token === 'function' || token, onError !== undefined, worker !== undefined]
  return JSON.stringify([given, Object.entries(settings).sort()])
}

function forwarding(
  options: ClientOptions,
  newest: RefObject<ClientOptions | undefined>,
  before: Client | undefined,
): ClientOptions {
  const { token, onError } = options
  // The place that the page came with is of who was logged in then.
  const first = before && (before.options.scope === options.scope ? before.options : {})
  return {
    ...options,
    cursor: (first ?? options).cursor,
    // One that is given as it is stays so: pages know by it who shares a connection.
    token:
      typeof token !== 'function'
        ? token
        : signal => {
            const now = newest.current?.token ?? token
            return typeof now === 'function' ? now(signal) : now
          },
    onError: onError === undefined ? undefined : error => (newest.current?.onError ?? onError)(error),
  }
}
