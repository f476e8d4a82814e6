import type { Query, QueryClient } from '@tanstack/react-query'

/** How many fetches of a query in a row are canceled for newer events. Then one is let through, and another follows it. */
const CANCELED_IN_A_ROW = 3

/** What is known of one query that has to be fetched. */
interface Pace {
  /** Runs while another fetch would be too soon. */
  timer: ReturnType<typeof setTimeout> | undefined
  /** A fetch is to be made when the timer ends. */
  due: boolean
  /** Which page an infinite query was fetching, when it was canceled. */
  more: Query['state']['fetchMeta']
  /** Something has changed since the fetch that is under way began: what it brings may be old. */
  overtaken: boolean
  canceled: number
}

/**
 * Fetches queries anew, each at most once in `throttle` ms: at once, and again at the end if more came meanwhile.
 *
 * A fetch that was under way when something changed may bring what was before. So it is followed by another, which begins
 * after the change.
 */
export class Refetches {
  readonly #queryClient: QueryClient
  readonly #throttle: number
  readonly #paces = new Map<Query, Pace>()
  readonly #unsubscribe: () => void
  /** What was marked and has not been fetched as a whole since. Another page clears the mark of TanStack Query as well. */
  readonly #old = new WeakSet<Query>()
  #stopped = false

  constructor(queryClient: QueryClient, throttle: number) {
    this.#queryClient = queryClient
    this.#throttle = throttle
    this.#unsubscribe = queryClient.getQueryCache().subscribe(event => {
      if (event.type === 'removed') this.#forget(event.query)
      else if (event.type === 'updated' && event.action.type === 'fetch') this.#begun(event.query)
      else if (event.type === 'updated' && event.query.state.fetchStatus === 'idle') {
        this.#settled(
          event.query,
          event.action.type === 'error',
          event.action.type === 'success' && !event.action.manual,
        )
      }
    })
  }

  /** What is cached is old: it is marked, and fetched if it is on the page. */
  invalidate(query: Query): void {
    if (isUnderWay(query)) this.#pace(query).overtaken = true
    this.#mark(query)
    this.#request(query)
  }

  /** A change came to a query that has nothing to change yet. */
  overtake(query: Query): void {
    if (isUnderWay(query)) this.#pace(query).overtaken = true
  }

  /**
   * Puts changed data into a query, and calls off a fetch that is under way, which would put older data over it.
   * What was called off is begun again.
   */
  put(query: Query, data: unknown): void {
    const interrupted = isUnderWay(query) ? this.#interrupt(query) : undefined
    const { isInvalidated, dataUpdatedAt } = query.state
    // The data is as old as what was fetched, and no less invalid than it was.
    if (data !== query.state.data) query.setData(data, { updatedAt: dataUpdatedAt, manual: true })
    if (interrupted === 'all') this.#mark(query)
    else if (isInvalidated) query.invalidate()
    if (interrupted !== undefined) this.#request(query)
  }

  /** Tries again what could not be fetched. */
  retry(query: Query): void {
    if (query.state.isInvalidated || query.state.status === 'error') this.#request(query)
  }

  /** Fetches nothing more. What is still under way, and may bring what is old, is marked when it is there. */
  stop(): void {
    this.#stopped = true
    for (const [query, pace] of this.#paces) {
      clearTimeout(pace.timer)
      if (!pace.overtaken) this.#paces.delete(query)
    }
    this.#endIfDone()
  }

  #request(query: Query) {
    if (this.#stopped || !query.isActive() || isUnderWay(query)) return
    const pace = this.#pace(query)
    if (pace.timer === undefined) this.#fetch(query, pace)
    else pace.due = true
  }

  #fetch(query: Query, pace: Pace) {
    pace.due = false
    pace.timer = setTimeout(() => {
      pace.timer = undefined
      if (pace.due) this.#request(query)
      else if (!pace.overtaken && pace.canceled === 0) this.#paces.delete(query)
    }, this.#throttle)
    const { more } = pace
    pace.more = null
    if (more === null) {
      const filters = { queryKey: query.queryKey, exact: true, predicate: (one: Query) => one === query }
      void this.#queryClient.refetchQueries(filters, { cancelRefetch: false })
    } else {
      query.fetch(undefined, { meta: more }).catch(() => {}) // the error is in the state of the query
    }
  }

  #mark(query: Query) {
    if (query.state.data === undefined) return
    this.#old.add(query)
    query.invalidate()
  }

  #begun(query: Query) {
    if (isOfPage(query) && this.#old.has(query)) this.#pace(query).overtaken = true
  }

  #settled(query: Query, failed: boolean, fetched: boolean) {
    if (fetched && !isOfPage(query)) this.#old.delete(query)
    const pace = this.#paces.get(query)
    if (pace === undefined) return
    if (fetched) pace.canceled = 0
    if (!pace.overtaken) return
    pace.overtaken = false
    this.#mark(query)
    // A fetch that failed is tried again when the connection is back, and by the query's own rules.
    if (!failed) this.#request(query)
    if (this.#stopped) this.#forget(query)
  }

  /** Calls off the fetch that is under way, and says what it was of; `undefined` if it comes all the same. */
  #interrupt(query: Query): 'all' | 'page' | undefined {
    const pace = this.#pace(query)
    const { fetchMeta } = query.state
    const page = isOfPage(query) && !pace.overtaken
    if (pace.canceled < CANCELED_IN_A_ROW) {
      pace.overtaken = false
      void this.#queryClient.cancelQueries({ queryKey: query.queryKey, exact: true, predicate: one => one === query })
    }
    // An answer that is there already, and about to be put into the cache, can't be called off.
    if (isUnderWay(query)) {
      pace.overtaken = true
      return undefined
    }
    pace.canceled += 1
    if (page) pace.more = fetchMeta
    return page ? 'page' : 'all'
  }

  #pace(query: Query): Pace {
    let pace = this.#paces.get(query)
    if (pace === undefined) {
      pace = { timer: undefined, due: false, more: null, overtaken: false, canceled: 0 }
      this.#paces.set(query, pace)
    }
    return pace
  }

  #forget(query: Query) {
    const pace = this.#paces.get(query)
    clearTimeout(pace?.timer)
    this.#paces.delete(query)
    if (this.#stopped) this.#endIfDone()
  }

  #endIfDone() {
    if (this.#paces.size === 0) this.#unsubscribe()
  }
}

function isUnderWay(query: Query): boolean {
  return query.state.fetchStatus !== 'idle'
}

/** Whether the newest fetch is, or was, of one more page, which leaves the others as they are. */
function isOfPage(query: Query): boolean {
  return query.state.fetchMeta?.fetchMore !== undefined
}
