import { reconnectDelay } from '../backoff.js'
import { judge, type Verdict } from '../ending.js'
import { TidingsError } from '../errors.js'
import { failure, reasonOf } from '../failure.js'
import { MOST } from '../filter.js'
import type { Batch, Frame, OpenSource, Settings, SourceSink, TransportRequest } from '../source.js'
import { pause } from '../transports/pause.js'
import { type Answer, pollOnce } from '../transports/poll-once.js'
import type { ClientOptions, Environment } from '../types.js'
import { widen } from '../widen.js'
import { order } from './order.js'

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
    if ('next' in answer) {
      const { next, error, least } = answer
      if (next === 'close' || next === 'fall') throw error
      refresh = next === 'refresh'
      if (!refresh)
        await pause(reconnectDelay(attempt++, settings.backoff, environment.random, least), environment, signal)
      continue
    }
    attempt = 0
    options.batch({ from: cursor, to: answer.cursor, frames: kept(answer.frames) })
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

/** One poll that does not wait, or why there is none. */
async function ask(
  { settings, topics, environment, token, signal }: DetourOptions,
  cursor: string,
  refresh: boolean,
): Promise<Answer | Verdict> {
  const { url, paths, query, headers, credentials, silence } = settings
  const stop = new AbortController()
  const end = () => stop.abort()
  // One that is held is as good as none, and the page would hear nothing for as long.
  const timer = environment.setTimeout(end, silence)
  signal.addEventListener('abort', end)
  try {
    const given = await token(refresh, stop.signal)
    const request: TransportRequest = {
      url: new URL(paths.poll || '', url),
      query,
      topics: widen(topics, MOST),
      cursor,
      token: given?.token,
      headers,
      credentials,
      silence,
    }
    const answer = await pollOnce(request, 0, environment, stop.signal)
    if (stop.signal.aborted) return judge({ kind: 'silence' }, undefined, refresh)
    return 'kind' in answer ? judge(answer, undefined, refresh) : answer
  } catch (error) {
    if (stop.signal.aborted) return judge({ kind: 'silence' }, undefined, refresh)
    return {
      next: error instanceof TidingsError && !error.retrying ? 'close' : 'wait',
      error: error instanceof TidingsError ? error : failure('token', reasonOf(error), { cause: error }),
      least: 0,
    }
  } finally {
    environment.clearTimeout(timer)
    signal.removeEventListener('abort', end)
  }
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
