import type { Ending, TransportSink } from '../source.js'
import type { Environment } from '../types.js'

/** One connection, from its begin to its one end. */
export interface Lifetime {
  /** Aborted when it is over, for whatever reason: what it holds lets go, and nothing is handed over any more. */
  readonly signal: AbortSignal
  /** Ends it; the first ending counts. */
  end(ending: Ending): void
  /** Does that after `ms`, unless it is over by then, or told to wait anew. */
  wait(ms: number, otherwise: () => void): void
}

/** Begins a lifetime. Aborting `outer` ends it without a word. */
export function begin(
  sink: Pick<TransportSink, 'ended'>,
  { setTimeout, clearTimeout }: Pick<Environment, 'setTimeout' | 'clearTimeout'>,
  outer: AbortSignal,
): Lifetime {
  const inner = new AbortController()
  const { signal } = inner
  let timer: unknown

  const stop = (): void => {
    clearTimeout(timer)
    outer.removeEventListener('abort', stop)
    inner.abort()
  }
  const end = (ending: Ending): void => {
    if (signal.aborted) return
    stop()
    sink.ended(ending)
  }
  if (outer.aborted) stop()
  else outer.addEventListener('abort', stop)

  return {
    signal,
    end,
    wait(ms, otherwise) {
      clearTimeout(timer)
      if (!signal.aborted) timer = setTimeout(otherwise, ms)
    },
  }
}
