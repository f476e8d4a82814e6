import { reconnectDelay } from '../backoff.js'
import { judge, type Verdict } from '../ending.js'
import { TidingsError } from '../errors.js'
import { failure, reasonOf } from '../failure.js'
import { MOST } from '../filter.js'
import type { Batch, Frame, OpenSource, Settings, SourceSink, TransportRequest } from '../source.js'
import { pause } from '../transports/pause.js'
import { type Answer, pollOnce } from '../transports/poll-once.js'
import type { ClientOptions, Environment, LiveEvent } from '../types.js'
import { widen } from '../widen.js'
import { order } from './order.js'

/** How long to wait for a replica, or for the shared connection, that is behind, in ms. */
export const BEHIND = 250

/** How long the states may take that come after an opening, in ms: the hub writes both at once. */
const OPENING = 1_000

/** What it takes to ask the hub beside the shared connection. */
export interface AskOptions {
  readonly settings: Settings
  readonly topics: readonly string[] | undefined
  readonly token: SourceSink['token']
  readonly environment: Environment
  /** Opens a connection for it, where polls are not served. */
  readonly open: OpenSource
  readonly options: ClientOptions
  readonly signal: AbortSignal
}

export interface DetourOptions extends AskOptions {
  readonly from: string
  /** Where the shared connection goes on. */
  readonly to: string
  /** What was missed. Signals and present states are left out: the shared connection tells the newer ones. */
  readonly batch: (batch: Batch) => void
}

/**
 * Reads what a page has missed of the shared connection, by itself, up to where that goes on.
 *
 * Comes back after failures that heal. Rejects with a {@link TidingsError} if what was missed can't be had.
 */
export async function detour(options: DetourOptions): Promise<void> {
  const { settings, environment, signal, from, to, batch } = options
  if (settings.paths.poll === false) {
    return byLink(options, from, (part, end) => {
      batch({ ...part, frames: kept(part.frames) })
      if (part.to !== undefined && (order(part.to, to) ?? -1) >= 0) end()
    })
  }
  for (let cursor = from; ; ) {
    const answer = await insist(options, cursor)
    if (!answer) return
    batch({ from: cursor, to: answer.cursor, frames: kept(answer.frames) })
    const left = order(answer.cursor, to)
    if (left !== undefined && left >= 0) return
    const isEnd = answer.cursor === cursor
    cursor = answer.cursor
    if (!isEnd) continue
    // The end of the log. In another epoch there is nothing to wait for; in this one, this replica has yet to hear of it.
    if (left === undefined) return
    await pause(BEHIND, environment, signal)
  }
}

/** What a subscriber that comes at `cursor` is given first. */
export interface States {
  readonly cursor: string | undefined
  readonly states: readonly LiveEvent[]
}

/**
 * Asks for the states that a subscriber is given first, at the place that `at` gives or later. Comes back and rejects as {@link detour}
 * does. None after an abort.
 */
export async function statesOf(options: AskOptions, at: () => string | undefined): Promise<States | undefined> {
  const { settings, environment, signal } = options
  if (settings.paths.poll === false) {
    let cursor: string | undefined
    const states: LiveEvent[] = []
    const take = (part: Batch) => {
      cursor = part.to
      states.push(...placeless(part.frames))
    }
    await byLink(options, undefined, take, end => void environment.setTimeout(end, OPENING))
    return signal.aborted ? undefined : { cursor, states }
  }
  for (;;) {
    const answer = await insist(options, undefined)
    if (!answer) return undefined
    const { cursor, frames } = answer
    if ((order(cursor, at() ?? cursor) ?? 0) >= 0) return { cursor, states: placeless(frames) }
    await pause(BEHIND, environment, signal)
  }
}

/** Polls until there is an answer. None after an abort. */
async function insist(options: AskOptions, cursor: string | undefined): Promise<Answer | undefined> {
  const { environment, settings, signal } = options
  let refresh = false
  for (let attempt = 0; !signal.aborted; ) {
    const answer = await ask(options, cursor, refresh)
    if (signal.aborted) return undefined
    if (!('next' in answer)) return answer
    const { next, error, least } = answer
    if (next === 'close' || next === 'fall') throw error
    refresh = next === 'refresh'
    if (!refresh)
      await pause(reconnectDelay(attempt++, settings.backoff, environment.random, least), environment, signal)
  }
  return undefined
}

/** One poll that does not wait, or why there is none. */
async function ask(
  { settings, topics, environment, token, signal }: AskOptions,
  cursor: string | undefined,
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

function placeless(frames: readonly Frame[]): LiveEvent[] {
  const events = frames.flatMap(frame => (frame.type === 'event' ? [frame.event] : []))
  return events.filter(({ cursor }) => cursor === undefined)
}

/** By a connection of its own, as long as it takes: until somebody calls `end`. */
function byLink(
  { settings, topics, token, environment, open, options, signal }: AskOptions,
  cursor: string | undefined,
  batch: (batch: Batch, end: () => void) => void,
  opened?: (end: () => void) => void,
): Promise<void> {
  return new Promise((done, failed) => {
    const end = () => {
      signal.removeEventListener('abort', end)
      // Not before `open` has returned.
      void Promise.resolve().then(() => link.close(false))
      done()
    }
    const link = open(
      { ...settings, cursor, backgroundGrace: undefined },
      {
        batch: part => signal.aborted || batch(part, end),
        connection: ({ status, error }) => {
          if (status === 'open') opened?.(end)
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
