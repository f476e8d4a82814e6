import { DEFAULT_BACKOFF } from './backoff.js'
import { TidingsError } from './errors.js'
import type { Settings } from './source.js'
import { LONGEST } from './timers.js'
import type { ClientOptions, Environment, Paths } from './types.js'

const PATHS: Paths = { sse: 'v1/events', websocket: 'v1/ws', poll: 'v1/poll', jobs: 'v1/jobs' }

/** More than two of the hub's heartbeats of 20 s, in ms. */
const SILENCE = 45_000

/** The options with their defaults. Throws a {@link TidingsError} that names what can't be meant. */
export function settle(options: ClientOptions, { location }: Environment): Settings {
  const {
    query = {},
    cursor,
    transports = ['sse', 'websocket', 'poll'],
    headers = {},
    credentials = 'same-origin',
    backgroundGrace,
    silence = SILENCE,
    scope = '',
  } = options
  const { base = DEFAULT_BACKOFF.base, cap = DEFAULT_BACKOFF.cap } = options.backoff ?? {}
  const given = defined(options.paths)
  for (const [name, ms] of Object.entries({ base, cap, silence, backgroundGrace: backgroundGrace ?? 0 })) {
    if (!(ms >= 0 && ms <= LONGEST)) throw wrong(name, 'a number of milliseconds', ms)
  }
  return {
    url: baseOf(options.url, location),
    // A profile's own stream is another namespace than the hub's own, maybe with other credentials.
    paths: { ...PATHS, ...(given.sse && { websocket: false, poll: false }), ...given },
    query,
    cursor,
    transports,
    headers,
    credentials,
    backoff: { base, cap },
    backgroundGrace,
    silence,
    scope,
  }
}

/** The hub's base: absolute, over HTTP, ending in a slash, without query and fragment. */
function baseOf(url: string | URL | undefined, location: string | undefined): string {
  const page = location?.startsWith('http') ? location : undefined
  // The page's own origin, not its folder: pages of one app lie at many depths.
  const written = url ?? '/'
  if (!URL.canParse(written, page)) throw wrong('url', page ? 'an address' : 'a whole address here', written)
  const base = new URL(written, page)
  if (!base.protocol.startsWith('http')) throw wrong('url', 'http: or https:', written)
  base.search = ''
  base.hash = ''
  if (!base.pathname.endsWith('/')) base.pathname += '/'
  return base.href
}

function wrong(name: string, what: string, value: unknown): TidingsError {
  return new TidingsError('refused', `the option ${name} has to be ${what}, and not ${value}`)
}

/** Without the members that are `undefined`, which would hide a default. */
function defined<T extends object>(value: T | undefined): { [Key in keyof T]?: Exclude<T[Key], undefined> } {
  return Object.fromEntries(Object.entries(value ?? {}).filter(([, member]) => member !== undefined)) as {
    [Key in keyof T]?: Exclude<T[Key], undefined>
  }
}
