import type { AnyEvent, Client, Gap, LiveEvent, Subscription } from '@tidings/client'
import { useEffect, useRef } from 'react'
import { useSomeClient } from './context.js'
import { Held } from './held.js'
import { useNewest } from './newest.js'
import { awaitPlace } from './place.js'
import type { RegisteredEvents } from './register.js'
import { report } from './report.js'

export interface LiveEventsOptions {
  /** Topics or patterns (`book/*`); those of the client if left out. */
  readonly topics?: readonly string[] | undefined
  /**
   * Fetch what the events change: from here on all of them are heard, so that what is fetched now stays right. Told at the beginning and
   * for other types or topics. Where the hub is away, or takes longer than 2 s, it is told before as well, so that there is something to show.
   */
  readonly onReady?: (() => void) | undefined
  /** Events were missed: fetch anew what they change. */
  readonly onGap?: ((gap: Gap) => void) | undefined
  /** `false`: not listening. What happens meanwhile is not told. */
  readonly enabled?: boolean | undefined
  /** While `true`, events are kept; then they are handed over in order. For a list that must not move just now. */
  readonly paused?: boolean | undefined
  /** How many events are kept at most while paused. More become a gap. 10,000 if left out. */
  readonly hold?: number | undefined
  /** Another client than the provider's. */
  readonly client?: object | undefined
}

/** Hears events for as long as the component is there. */
export interface UseLiveEvents<Events extends object> {
  /** Hands over all events that came together: one call, one state change, one drawing. */
  <Name extends keyof Events & string>(
    types: Name | readonly Name[] | undefined,
    handler: (events: readonly AnyEvent<Pick<Events, Name>>[]) => void,
    options: LiveEventsOptions & { readonly batch: true },
  ): void
  /** Calls `handler` for each event, in order. It may be another function at each rendering. `undefined` types are all. */
  <Name extends keyof Events & string>(
    types: Name | readonly Name[] | undefined,
    handler: (event: AnyEvent<Pick<Events, Name>>) => void,
    options?: LiveEventsOptions & { readonly batch?: false | undefined },
  ): void
}

type Handler = (told: LiveEvent | readonly LiveEvent[]) => void

/** What one component's subscription wants, and where its events wait while it is paused. */
interface Running {
  readonly held: Held<LiveEvent>
  readonly subscription: Subscription<Record<string, unknown>>
  /** The names and topics that were asked for last. */
  wanted: string
}

function useEvents(
  types: string | readonly string[] | undefined,
  handler: Handler,
  options: LiveEventsOptions & { readonly batch?: boolean | undefined } = {},
): void {
  const client = useSomeClient(options.client)
  const { enabled = true, paused = false, topics } = options
  const names = typeof types === 'string' ? [types] : types
  const wanted = JSON.stringify([names ?? null, topics ?? null])
  const newest = useNewest({ handler, options, names, wanted })
  const running = useRef<Running>(undefined)

  useEffect(() => {
    if (!enabled) return
    const held = new Held<LiveEvent>(newest.current.options.hold ?? 10_000, {
      events: events => {
        if (newest.current.options.batch === true) attempt(client, newest.current.handler, events)
        else {
          for (const event of events) {
            // A handler may make its own component go.
            if (running.current?.held === held) attempt(client, newest.current.handler, event)
          }
        }
      },
      gap: gap => attempt(client, newest.current.options.onGap, gap),
    })
    if (newest.current.options.paused === true) held.pause()
    const subscription = client.subscribe({
      names: newest.current.names,
      topics: newest.current.options.topics,
      onBatch: events => held.add(events),
      onGap: gap => held.gap(gap),
    })
    running.current = { held, subscription, wanted: newest.current.wanted }
    return () => {
      running.current = undefined
      subscription.unsubscribe()
    }
  }, [client, enabled, newest])

  useEffect(() => {
    const now = running.current
    if (now === undefined || now.wanted === wanted) return
    now.wanted = wanted
    now.subscription.replace({
      names: newest.current.names,
      topics: newest.current.options.topics,
      onBatch: events => now.held.add(events),
      onGap: gap => now.held.gap(gap),
    })
  }, [wanted, newest])

  const isAwaited = options.onReady !== undefined
  // biome-ignore lint/correctness/useExhaustiveDependencies: what is wanted newly has a place of its own
  useEffect(() => {
    if (!enabled || !isAwaited) return
    const ending = new AbortController()
    const ready = () => attempt(client, newest.current.options.onReady, undefined)
    awaitPlace(client, { placed: ready, late: ready }, ending.signal)
    return () => ending.abort()
  }, [client, enabled, isAwaited, wanted, newest])

  useEffect(() => {
    if (paused) running.current?.held.pause()
    else running.current?.held.resume()
  }, [paused])
}

function attempt<Argument>(client: Client, handler: ((argument: Argument) => void) | undefined, argument: Argument) {
  const failed = (error: unknown) => report(client, 'a handler of useLiveEvents threw', error)
  try {
    const answer: unknown = handler?.(argument)
    // One that is async throws later.
    if (answer instanceof Promise) answer.catch(failed)
  } catch (error) {
    failed(error)
  }
}

/** {@link UseLiveEvents} */
export const useLiveEvents: UseLiveEvents<RegisteredEvents> = useEvents as UseLiveEvents<RegisteredEvents>
