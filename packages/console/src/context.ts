import { createContext } from 'preact'
import { useContext, useEffect, useRef, useState } from 'preact/hooks'
import { ApiError } from './api.js'
import type { Hub } from './hub.js'
import { formatRoute, parseRoute, type Route, type ViewName } from './route.js'
import { Store, useStore } from './store.js'

const HubContext = createContext<Hub | undefined>(undefined)

export const HubProvider = HubContext.Provider

export function useHub(): Hub {
  const hub = useContext(HubContext)
  if (!hub) throw new Error('a view is drawn inside of HubProvider')
  return hub
}

/** Where one is; follows the address. */
export const route: Store<Route> = new Store(parseRoute(location.hash))
addEventListener('hashchange', () => route.set(parseRoute(location.hash)))

export function go(view: ViewName, query: Readonly<Record<string, string | undefined>> = {}): void {
  location.hash = formatRoute(view, query)
}

/** Says in the address what is shown, without a step in the history: typing into a filter is none. */
export function say(view: ViewName, query: Readonly<Record<string, string | undefined>>): void {
  const hash = formatRoute(view, query)
  if (hash === location.hash) return
  history.replaceState(null, '', hash)
  route.set(parseRoute(hash))
}

/** What was fetched, while it is fetched anew too. */
export interface Resource<T> {
  readonly value: T | undefined
  readonly error: ApiError | undefined
  readonly loading: boolean
  reload(): void
}

interface ResourceOptions {
  /** ms after which it is fetched again, while the page is seen. */
  readonly every?: number
  /** Shows what was there until another path's answer comes: the same list with another filter, and not another thing. */
  readonly keep?: boolean
  /** As {@link Ask} has it. */
  readonly exact?: boolean
}

/** Fetches `path`, again when it changes and when the connection is there again. `undefined` fetches nothing. */
export function useResource<T>(
  path: string | undefined,
  { every, keep = false, exact = false }: ResourceOptions = {},
): Resource<T> {
  const hub = useHub()
  const comeback = useStore(hub.comebacks)
  const [round, setRound] = useState(0)
  const [state, setState] = useState<Pick<Resource<T>, 'value' | 'error' | 'loading'> & { path: string | undefined }>({
    value: undefined,
    error: undefined,
    loading: path !== undefined,
    path,
  })
  const due = useRef<ReturnType<typeof setTimeout>>(undefined)

  useEffect(() => {
    if (path === undefined) {
      setState({ value: undefined, error: undefined, loading: false, path })
      return
    }
    const ending = new AbortController()
    const again = () => {
      if (every === undefined || ending.signal.aborted) return
      due.current = setTimeout(() => {
        if (document.visibilityState === 'visible') setRound(n => n + 1)
        else
          document.addEventListener('visibilitychange', () => setRound(n => n + 1), {
            once: true,
            signal: ending.signal,
          })
      }, every)
    }
    setState(was => ({ ...was, loading: true, value: keep || was.path === path ? was.value : undefined, path }))
    hub.ask<T>(path, { signal: ending.signal, exact }).then(
      value => {
        setState({ value, error: undefined, loading: false, path })
        again()
      },
      error => {
        if (ending.signal.aborted) return
        const said = error instanceof ApiError ? error : new ApiError(0, String(error))
        setState(was => ({ ...was, error: said, loading: false }))
        again()
      },
    )
    return () => {
      ending.abort()
      clearTimeout(due.current)
    }
  }, [path, comeback, round, every, keep, exact])

  // What was fetched for another path is not this one's, also until the effect above has run.
  const own =
    keep || state.path === path ? state : { value: undefined, error: state.error, loading: path !== undefined }
  return { ...own, reload: () => setRound(n => n + 1) }
}

/** The time (ms since 1970), drawn anew each `every` ms. */
export function useNow(every = 1000): number {
  const [now, setNow] = useState(Date.now())
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), every)
    return () => clearInterval(timer)
  }, [every])
  return now
}

/** Whether the screen is narrow: a phone. */
export function useNarrow(): boolean {
  const [media] = useState(() => matchMedia('(max-width: 720px)'))
  const [narrow, setNarrow] = useState(media.matches)
  useEffect(() => {
    const listener = () => setNarrow(media.matches)
    media.addEventListener('change', listener)
    return () => media.removeEventListener('change', listener)
  }, [media])
  return narrow
}

/** How long (ms) somebody has to stop typing before the hub is asked. */
const CALM = 200

/** The value as it was when it had not changed for a moment. */
export function useCalm<T>(value: T): T {
  const [calm, setCalm] = useState(value)
  useEffect(() => {
    const timer = setTimeout(() => setCalm(value), CALM)
    return () => clearTimeout(timer)
  }, [value])
  return calm
}
