import { TidingsError } from './errors.js'
import { aborted } from './failure.js'
import type { Connection, Environment } from './types.js'

/** How long a connection may take to tell its place, in ms. Mounts that tell none are taken as they are after that. */
const PATIENCE = 1_000

/** Whose place is asked for. */
export interface Placed {
  /** As it is now. `wanted` is `null` where nothing is. */
  look(): Pick<Connection, 'status' | 'error' | 'cursor'> & { readonly wanted: unknown }
  /** Called at each change, for as long as they are in it. */
  readonly askers: Set<() => void>
}

/** The place of a connection, as soon as it is open and has one. Rejects where it is closed for good, and by `signal`. */
export function placeOf(
  { look, askers }: Placed,
  { setTimeout, clearTimeout }: Pick<Environment, 'setTimeout' | 'clearTimeout'>,
  signal: AbortSignal | undefined,
): Promise<string> {
  return new Promise((resolve, reject) => {
    let timer: unknown
    let late = false
    const ask = () => {
      const { status, error, cursor, wanted } = look()
      if (signal?.aborted) reject(aborted(signal))
      else if (status === 'closed') reject(error ?? aborted(signal))
      else if (wanted === null) reject(new TidingsError('refused', 'nothing is wanted, so there is no place'))
      else if (status === 'open' && (late || cursor !== undefined)) resolve(cursor ?? '')
      else {
        if (status === 'open')
          timer ??= setTimeout(() => {
            late = true
            ask()
          }, PATIENCE)
        return
      }
      clearTimeout(timer)
      askers.delete(ask)
      signal?.removeEventListener('abort', ask)
    }
    askers.add(ask)
    signal?.addEventListener('abort', ask)
    ask()
  })
}
