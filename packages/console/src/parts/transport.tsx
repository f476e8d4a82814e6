import type { JSX } from 'preact'

/** Transports in the order and colours that all views use. */
export const TRANSPORTS = [
  { name: 'sse', label: 'SSE', color: 1 },
  { name: 'websocket', label: 'WebSocket', color: 2 },
  { name: 'socketio', label: 'Socket.IO', color: 3 },
  { name: 'poll', label: 'Poll', color: 4 },
] as const

export function Transport({ name }: { name: string }): JSX.Element {
  const known = TRANSPORTS.find(each => each.name === name)
  return (
    <span class="transport">
      <i class={`swatch c${known?.color ?? 5}`} /> {known?.label ?? name}
    </span>
  )
}
