import { InfiniteQueryObserver, notifyManager, QueryClient, type QueryKey, QueryObserver } from '@tanstack/react-query'
import { vi } from 'vitest'
import { FakeClient } from '../src/testing.js'

/** A fetch that the test answers. */
export interface Asked {
  readonly key: QueryKey
  readonly signal: AbortSignal
  answer(data: unknown): Promise<void>
  fail(error: Error): Promise<void>
}

/** A QueryClient whose fetches wait for the test, and a client without a network. Time is the test's. */
export class Desk {
  readonly client: FakeClient
  readonly queries = new QueryClient({
    defaultOptions: {
      queries: { retry: false, staleTime: Number.POSITIVE_INFINITY, gcTime: Number.POSITIVE_INFINITY },
    },
  })
  readonly asked: Asked[] = []

  constructor(client: FakeClient = new FakeClient()) {
    this.client = client
    vi.useFakeTimers()
  }

  /** Shows a query on the page; what is returned counts how often its observer was told. */
  show(queryKey: QueryKey): { told: number; hide: () => void } {
    const observer = new QueryObserver(this.queries, { queryKey, queryFn: ({ signal }) => this.#ask(queryKey, signal) })
    const seen = { told: 0, hide: () => {} }
    // As the hooks of React Query do.
    const tell = notifyManager.batchCalls(() => {
      seen.told += 1
    })
    seen.hide = observer.subscribe(tell)
    return seen
  }

  /** Shows a list in pages, as `{ items, next? }`. */
  showPages(queryKey: QueryKey): InfiniteQueryObserver {
    const observer = new InfiniteQueryObserver(this.queries, {
      queryKey,
      queryFn: ({ signal, pageParam }) => this.#ask([...queryKey, pageParam], signal),
      initialPageParam: -1,
      getNextPageParam: page => (page as { next?: number }).next,
    })
    observer.subscribe(() => {})
    return observer as InfiniteQueryObserver
  }

  /** The keys that were asked for since the last time. */
  keys(): QueryKey[] {
    return this.asked.splice(0).map(one => one.key)
  }

  /** The one fetch that waits. */
  one(): Asked {
    const [first, second] = this.asked.splice(0)
    if (first === undefined || second !== undefined) throw new Error('one fetch was expected')
    return first
  }

  data(queryKey: QueryKey): unknown {
    return this.queries.getQueryData(queryKey)
  }

  /** Lets everything happen that takes no time. */
  settle(ms = 0): Promise<unknown> {
    return vi.advanceTimersByTimeAsync(ms)
  }

  #ask(key: QueryKey, signal: AbortSignal): Promise<unknown> {
    return new Promise((resolve, reject) => {
      this.asked.push({
        key,
        signal,
        answer: async data => {
          resolve(data)
          await this.settle()
        },
        fail: async error => {
          reject(error)
          await this.settle()
        },
      })
    })
  }
}
