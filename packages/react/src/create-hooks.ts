import type { Client, ClientOptions } from '@tidings/client'
import type { ReactElement } from 'react'
import { LiveProvider, type LiveProviderProps } from './provider.js'
import { useClient } from './use-client.js'
import { useConnection } from './use-connection.js'
import { useJob } from './use-job.js'
import { type UseLatest, useLatest } from './use-latest.js'
import { useLive } from './use-live.js'
import { type UseLiveEvents, useLiveEvents } from './use-live-events.js'
import { useUpload } from './use-upload.js'

/** The hooks, typed by a map from event names to the types of their data. */
export interface Hooks<Events extends object> {
  readonly LiveProvider: (props: LiveProviderProps<Events>) => ReactElement
  readonly useClient: (options: ClientOptions) => Client<Events>
  readonly useLive: () => Client<Events>
  readonly useLiveEvents: UseLiveEvents<Events>
  readonly useLatest: UseLatest<Events>
  readonly useConnection: typeof useConnection
  readonly useJob: typeof useJob
  readonly useUpload: typeof useUpload
}

/** The same hooks for one map of events: `export const { useLiveEvents } = createHooks<Events>()`. */
export function createHooks<Events extends object>(): Hooks<Events> {
  const hooks: unknown = {
    LiveProvider,
    useClient,
    useLive,
    useLiveEvents,
    useLatest,
    useConnection,
    useJob,
    useUpload,
  }
  return hooks as Hooks<Events>
}
