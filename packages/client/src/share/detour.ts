import { reconnectDelay } from '../backoff.js'
import { TidingsError } from '../errors.js'
import type { Batch, Frame, OpenSource, Settings, SourceSink, TransportRequest } from '../source.js'
import { eventOf, gapOf, objectOf } from '../transports/frames.js'
import { addressOf, drop, headersOf, mediaType } from '../transports/http.js'
import { textOf } from '../transports/problem.js'
import type { ClientOptions, Environment } from '../types.js'
import { order } from './order.js'

/** The longest answer that is read, in bytes. A hub bounds its own far below. */
const MOST = 16 << 20

/** How long to wait for a replica that is behind, in ms. */
const BEHIND = 250

export interface DetourOptions {
  readonly settings: Settings
  readonly topics: readonly string[] | undefined
  readonly from: string
  /** Where the shared connection goes on. */
  readonly to: string
  readonly token: SourceSink['token']
  readonly environment: Environment
  /** Opens a connection for it, where polls are not served. */
  readonly open: OpenSource
  readonly options: ClientOptions
  readonly signal: AbortSignal
  /** What was missed. Signals and present states are left out: the shared connection tells the newer ones. */
  readonly batch: (batch: Batch) => void
}

/**
 * Reads what a page has missed of the shared connection, by itself, up to where that goes on.
 *
 * Comes back after failures that heal. Rejects with a {@link TidingsError} if what was missed can't be had.
 */
export async function detour(options: DetourOptions): Promise<void> {
  if (options.settings.paths.poll === false) return byLink(options)
  const { environment, settings, signal } = options
  let [cursor, refresh] = [options.from, false]
  for (let attempt = 0; !signal.aborted; ) {
    const answer = await ask(options, cursor, refresh)
    if (signal.aborted) return
    if (answer instanceof TidingsError) {
      if (!answer.retrying || (answer.code === 'unauthorized' && refresh)) throw answer
      refresh = answer.code === 'unauthorized'
      if (!refresh) await pause(reconnectDelay(attempt++, settings.backoff, environment.random), environment, signal)
      continue
    }
    attempt = 0
    options.batch({ from: cursor, to: answer.cursor, frames: answer.frames })
    const left = order(answer.cursor, options.to)
    if (left !== undefined && left >= 0) return
    const isEnd = answer.cursor === cursor
    cursor = answer.cursor
    if (!isEnd) continue
    // The end of the log. In another epoch there is nothing to wait for; in this one, this replica has yet to hear of it.
    if (left === undefined) return
    await pause(BEHIND, environment, signal)
  }
}

/** One poll that does not wait (protocol §4). */
async function ask(
  { settings, topics, environment, token, signal }: DetourOptions,
  cursor: string,
  refresh: boolean,
): Promise<{ readonly cursor: string; readonly frames: Batch['frames'] } | TidingsError> {
  try {
    const { url, paths, query, headers, credentials, silence } = settings
    const given = await token(refresh, signal)
    const request: TransportRequest = {
      url: new URL(paths.poll || '', url),
      query,
      topics,
      cursor,
      token: given?.token,
      headers,
      credentials,
      silence,
    }
    const response = await environment.fetch(addressOf(request, { wait: '0', cursor }), {
      headers: headersOf(request, 'application/json'),
      credentials,
      cache: 'no-store',
      signal,
    })
    if (response.status !== 200 || mediaType(response.headers) !== 'application/json') return refused(response)
    const text = await textOf(response, MOST)
    const answer = objectOf(text, 'an answer')
    return { cursor: String(answer.cursor), frames: framesOf(answer) }
  } catch (cause) {
    if (cause instanceof TidingsError) return cause
    return new TidingsError('network', 'what was missed could not be read yet', { retrying: true, cause })
  }
}

function refused(response: Response): TidingsError {
  const { status } = response
  drop(response.body)
  if (status === 200) return new TidingsError('content-type', 'a poll was answered with something else than JSON')
  const message = `a poll for what was missed was answered ${status}`
  if (status === 401) return new TidingsError('unauthorized', message, { status, retrying: true })
  const retrying = status >= 500 || [408, 425, 429].includes(status)
  return new TidingsError(retrying ? 'unavailable' : 'refused', message, { status, retrying })
}

function framesOf(answer: Readonly<Record<string, unknown>>): Batch['frames'] {
  const frames: Frame[] = Array.isArray(answer.events)
    ? answer.events.map(event => eventOf(objectOf(event, 'an event')))
    : []
  if (answer.gap !== undefined) frames.unshift(gapOf(objectOf(answer.gap, 'a gap')))
  return kept(frames)
}

/** Gaps, and events that have a place. */
function kept(frames: readonly Frame[]): Batch['frames'] {
  return frames.filter(
    frame => frame.type === 'gap' || (frame.type === 'event' && frame.event.cursor !== undefined),
  ) as Batch['frames']
}

/** By a connection of its own, as long as it takes. */
function byLink({
  settings,
  topics,
  from,
  to,
  token,
  environment,
  open,
  options,
  signal,
  batch,
}: DetourOptions): Promise<void> {
  return new Promise((done, failed) => {
    const end = () => {
      signal.removeEventListener('abort', end)
      // Not before `open` has returned.
      void Promise.resolve().then(() => link.close(false))
      done()
    }
    const link = open(
      { ...settings, cursor: from, backgroundGrace: undefined },
      {
        batch: part => {
          if (signal.aborted) return
          batch({ ...part, frames: kept(part.frames) })
          if (part.to !== undefined && (order(part.to, to) ?? -1) >= 0) end()
        },
        connection: ({ status, error }) => {
          if (status !== 'closed' || !error || signal.aborted) return
          failed(error)
          end()
        },
        error: () => {},
        token,
        loggedOut: end,
      },
      environment,
      options,
    )
    signal.addEventListener('abort', end)
    link.want(topics)
  })
}

function pause(ms: number, { setTimeout, clearTimeout }: Environment, signal: AbortSignal): Promise<void> {
  return new Promise(resolve => {
    const end = () => {
      clearTimeout(timer)
      signal.removeEventListener('abort', end)
      resolve()
    }
    const timer = setTimeout(end, ms)
    signal.addEventListener('abort', end)
  })
}
