import type { AnyEvent, LiveEvent } from '@tidings/client'
import { useCallback, useState, useSyncExternalStore } from 'react'
import { useSomeClient } from './context.js'
import type { RegisteredEvents } from './register.js'

export interface LatestOptions<Data> {
  /** Of this topic only. */
  readonly topic?: string | undefined
  /** What there is until an event comes; counts at the beginning. */
  readonly initial?: Data | undefined
  /** Another client than the provider's. */
  readonly client?: object | undefined
}

/** The newest event of a name. All components see the same one in one rendering. */
export interface UseLatest<Events extends object> {
  <Name extends keyof Events & string>(
    name: Name,
    options: LatestOptions<Events[Name]> & { readonly initial: Events[Name] },
  ): AnyEvent<Pick<Events, Name>>
  <Name extends keyof Events & string>(
    name: Name,
    options?: LatestOptions<Events[Name]>,
  ): AnyEvent<Pick<Events, Name>> | undefined
}

function useLatestEvent(name: string, options: LatestOptions<unknown> = {}): LiveEvent | undefined {
  const client = useSomeClient(options.client)
  const { topic } = options
  const [initial] = useState(() => initialEvent(name, topic ?? '', options.initial))
  const subscribe = useCallback(
    (changed: () => void) => {
      const topics = topic === undefined ? undefined : [topic]
      const subscription = client.subscribe({ names: [name], topics, onBatch: changed })
      // A logout forgets it, and another page may bring it: no event tells, but the connection changes with both.
      const unwatch = client.onConnection(changed)
      return () => {
        unwatch()
        subscription.unsubscribe()
      }
    },
    [client, name, topic],
  )
  return useSyncExternalStore(
    subscribe,
    () => client.latest(name, topic) ?? initial,
    () => initial,
  )
}

function initialEvent(name: string, topic: string, data: unknown): LiveEvent | undefined {
  return data === undefined ? undefined : { name, data, topic, cursor: undefined, time: undefined }
}

/** {@link UseLatest} */
export const useLatest: UseLatest<RegisteredEvents> = useLatestEvent as UseLatest<RegisteredEvents>
