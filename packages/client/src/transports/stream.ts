import { TidingsError } from '../errors.js'
import type { Ending } from '../source.js'
import { type SseSink, sseParser } from '../sse-parser.js'
import type { Environment } from '../types.js'
import { drop, mediaType } from './http.js'
import type { Lifetime } from './lifetime.js'

/** The media type of a stream. */
export const EVENT_STREAM = 'text/event-stream'

/** What hears a stream of Server-Sent Events. */
export interface StreamSink extends SseSink {
  /** The answer is such a stream. */
  opened(response: Response): void
  /** All that came with one read of the socket has been handed over. */
  read(): void
}

/**
 * Reads one stream to its end, which is the end of `life`.
 *
 * Only a 200 with the right content type is a stream (WHATWG HTML §9.2.3). Without a byte for `silence` ms it ends with that;
 * 0 waits for ever.
 */
export async function readStream(
  request: () => [URL, RequestInit],
  silence: number,
  sink: StreamSink,
  environment: Pick<Environment, 'fetch' | 'now'>,
  life: Lifetime,
): Promise<void> {
  const { signal } = life
  const listen = (): void => {
    if (silence > 0) life.wait(silence, () => life.end({ kind: 'silence' }))
  }
  let reader: ReadableStreamDefaultReader<Uint8Array> | undefined
  // A `fetch` that somebody handed in may not care about signals.
  signal.addEventListener('abort', () => drop(reader))
  try {
    if (signal.aborted) return
    listen()
    const [address, init] = request()
    const response = await environment.fetch(address, { ...init, cache: 'no-store', signal })
    if (signal.aborted) return drop(response.body)
    if (response.status !== 200) {
      // A refusal is one also where its sentence does not come, or what reads it.
      const { status, headers } = response
      const retryAfter = Number(headers.get('retry-after')) * 1000 || undefined
      const plain = { kind: 'refused', status, problem: undefined, retryAfter } as const
      const known = (ending: Ending) => life.wait(silence || 5_000, () => life.end(ending))
      known(plain)
      const read = import('./problem.js').then(({ refusal }) => refusal(response, environment.now(), known))
      return life.end(await read.catch(() => plain))
    }
    const contentType = mediaType(response.headers)
    if (contentType !== EVENT_STREAM) {
      drop(response.body)
      return life.end({ kind: 'content-type', contentType })
    }
    listen()
    reader = response.body?.getReader()
    sink.opened(response)
    const parse = sseParser(sink)
    for (;;) {
      const chunk = await reader?.read()
      if (signal.aborted) return
      if (!chunk || chunk.done) return life.end({ kind: 'ended', cause: undefined })
      listen()
      try {
        parse(chunk.value)
      } finally {
        sink.read()
      }
    }
  } catch (error) {
    life.end(
      // Errors of the network may be ours too, where `fetch` is the client's own.
      error instanceof TidingsError && error.code === 'protocol'
        ? { kind: 'protocol', message: error.message }
        : { kind: 'ended', cause: error },
    )
  } finally {
    drop(reader)
  }
}
