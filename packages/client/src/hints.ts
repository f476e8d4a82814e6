import type { TidingsError } from './errors.js'

/** What to set in a proxy, by what it does. Long sentences that few pages ever need, so they come when they are. */
const HINTS: readonly (readonly [does: string, hint: string])[] = [
  [
    'holds streams back',
    'turn its buffering and compression off (nginx `proxy_buffering off`, or heed `X-Accel-Buffering`)',
  ],
  [
    'cuts streams',
    'raise its idle and read timeouts (nginx `proxy_read_timeout`, Traefik `respondingTimeouts`, Caddy `read_timeout`)',
  ],
  ['passes no WebSocket on', 'it has to pass the headers `Upgrade` and `Connection`'],
]

/** Says in the error's message what to do about it, where that is known. */
export function explain(error: TidingsError): void {
  const [, hint] = HINTS.find(([does]) => error.message.endsWith(does)) ?? []
  if (hint) error.message += `: ${hint}`
}
