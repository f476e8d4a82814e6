import type { JSX } from 'preact'
import { useCallback, useEffect, useState } from 'preact/hooks'
import { ApiError, asker } from './api.js'
import { HubProvider } from './context.js'
import { Frame } from './frame.js'
import { Hub } from './hub.js'
import type { Whoami } from './model.js'
import { Waiting } from './parts/waiting.js'
import { storedKey, storeKey } from './session.js'
import { Login } from './views/login.js'

/** The hub is where this page came from, one level up. */
const BASE = new URL('/', location.href)
/** ms until the hub is asked again, when it does not answer. */
const AGAIN = 3_000

type State =
  | { readonly is: 'asking' }
  | { readonly is: 'login'; readonly why: string | undefined }
  | { readonly is: 'away'; readonly until: number; readonly why: string }
  | { readonly is: 'in'; readonly hub: Hub }

/** The console: who is it, then the frame with the views. */
export function App(): JSX.Element {
  const [state, setState] = useState<State>({ is: 'asking' })
  const [busy, setBusy] = useState(false)

  const enter = useCallback(async (key: string | undefined) => {
    setBusy(true)
    const next = await identify(key, why => {
      storeKey(undefined)
      setState({ is: 'login', why })
    })
    if (next.is === 'in') storeKey(key)
    setState(next)
    setBusy(false)
  }, [])

  useEffect(() => {
    void enter(storedKey())
  }, [enter])
  useEffect(() => {
    if (state.is !== 'away') return
    const timer = setTimeout(() => void enter(storedKey()), state.until - Date.now())
    return () => clearTimeout(timer)
  }, [state, enter])
  const hub = state.is === 'in' ? state.hub : undefined
  useEffect(() => () => hub?.close(), [hub])

  if (state.is === 'asking') return <main class="login" aria-busy="true" />
  if (state.is === 'login') return <Login why={state.why} busy={busy} onKey={enter} />
  if (state.is === 'away') return <Waiting until={state.until} why={state.why} onNow={() => void enter(storedKey())} />
  return (
    <HubProvider value={state.hub}>
      <Frame
        onLogout={
          state.hub.who.dev && !storedKey()
            ? undefined
            : () => {
                storeKey(undefined)
                void enter(undefined)
              }
        }
      />
    </HubProvider>
  )
}

/** Asks the hub who has this key. `refused` is called when the key stops being good later on. */
async function identify(key: string | undefined, refused: (why: string) => void): Promise<State> {
  try {
    const who = await asker(BASE, key, () => {})<Whoami>('v1/whoami')
    if (who.operator)
      return {
        is: 'in',
        hub: new Hub(BASE, key, who, why => refused(`The hub does not take this key any more: ${why}`)),
      }
    return { is: 'login', why: key ? `This is the key of ${who.principal}, who is no operator.` : undefined }
  } catch (error) {
    const status = error instanceof ApiError ? error.status : 0
    const message = error instanceof Error ? error.message : String(error)
    if (status === 401 || status === 403)
      return { is: 'login', why: key ? `The hub does not take this key: ${message}` : undefined }
    return { is: 'away', until: Date.now() + AGAIN, why: message }
  }
}
