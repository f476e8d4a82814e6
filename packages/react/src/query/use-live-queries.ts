import { useQueryClient } from '@tanstack/react-query'
import { useEffect, useLayoutEffect, useRef, useState } from 'react'
import { useSomeClient } from '../context.js'
import { useNewest } from '../newest.js'
import type { RegisteredEvents } from '../register.js'
import { type Bridge, type BridgeOptions, startBridge } from './bridge.js'
import type { LiveMap } from './rule.js'

export interface LiveQueriesOptions extends BridgeOptions {
  /** `false`: not listening. What was missed is fetched anew afterwards. */
  readonly enabled?: boolean | undefined
  /** Another client than the provider's. */
  readonly client?: object | undefined
}

export interface LiveQueries {
  /**
   * What is fetched from now on is kept up to date. A query that is `enabled` by this is fetched once at the beginning. Where the hub
   * is away, or takes longer than 2 s, it is `true` as well, and what was fetched is fetched anew once the hub is there.
   */
  readonly ready: boolean
}

// Layout effects come before those in which the queries of the same rendering begin to fetch: what they fetch is then fetched once.
// A server has neither, and React 18 complains there of the one.
const useEarlyEffect = typeof window === 'undefined' ? useEffect : useLayoutEffect

/** Keeps the queries below the QueryClientProvider up to date, for as long as the component is there. */
export function useLiveQueries<Events extends object = RegisteredEvents>(
  map: LiveMap<Events>,
  options: LiveQueriesOptions = {},
): LiveQueries {
  const client = useSomeClient(options.client)
  const queryClient = useQueryClient()
  const { enabled = true, paused = false, cursor, throttle } = options
  const newest = useNewest({ map: map as LiveMap<object>, options })
  const running = useRef<Bridge>(undefined)
  const [ready, setReady] = useState(false)
  const wanted = JSON.stringify([Object.keys(map), options.topics ?? null])

  // Other names, topics or settings need another bridge.
  useEarlyEffect(() => {
    if (!enabled) return
    const bridge = startBridge(client, queryClient, () => newest.current.map, newest.current.options)
    running.current = bridge
    let over = false
    void bridge.ready.then(() => {
      if (!over) setReady(true)
    })
    return () => {
      over = true
      running.current = undefined
      bridge.stop()
      setReady(false)
    }
  }, [client, queryClient, enabled, wanted, cursor, throttle, newest])

  useEffect(() => {
    if (paused) running.current?.pause()
    else running.current?.resume()
  }, [paused])

  return { ready }
}
