import type { Client, Connection } from '@tidings/client'

/** How long the place is waited for, in ms. An app whose hub is away works on, and is live later. */
const PATIENCE = 2_000

/** What whoever waits for a place is told. */
export interface PlaceSink {
  /** Everything that was wanted is heard from here on. Told once. */
  placed(): void
  /** That takes long, or the hub is away. Told once at most, and before `placed`. */
  late(): void
}

/** Waits for the place from which on the client hears everything, however often it is refused, until `signal` aborts. */
export function awaitPlace(client: Client, sink: PlaceSink, signal: AbortSignal): void {
  let isLate = false
  let asking = false
  const ending = new AbortController()
  const end = () => ending.abort()
  const beLate = () => {
    if (isLate || ending.signal.aborted) return
    isLate = true
    sink.late()
  }
  const ask = () => {
    if (asking) return
    asking = true
    client.position({ signal: ending.signal }).then(
      () => {
        if (ending.signal.aborted) return
        end()
        sink.placed()
      },
      () => {
        // Refused for good, which the client reports itself. It is asked again when the client is connected again.
        asking = false
        beLate()
      },
    )
  }
  const look = ({ status }: Connection) => {
    if (status === 'open') ask()
    else if (status !== 'connecting') beLate()
  }
  const unwatch = client.onConnection(look)
  const timer = setTimeout(beLate, PATIENCE)
  ending.signal.addEventListener('abort', () => {
    unwatch()
    clearTimeout(timer)
    signal.removeEventListener('abort', end)
  })
  signal.addEventListener('abort', end)
  ask()
  look(client.connection)
}
