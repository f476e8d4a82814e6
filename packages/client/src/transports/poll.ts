import type { Ending, Transport, TransportRequest, TransportSink } from '../source.js'
import type { Environment } from '../types.js'
import { begin, type Lifetime } from './lifetime.js'
import { pause } from './pause.js'
import { pollOnce } from './poll-once.js'

/** How long a poll may wait for something to happen, in seconds: below the half minute at which some proxies cut. */
const WAIT = 25

/** The least time, in ms, between two polls that brought nothing: whoever answers sooner does not wait, and would be asked without pause. */
const PAUSE = 1_000

/** One question after the other (protocol §4): works through whatever lets requests through. */
export const poll: Transport = (request, sink, environment, signal) => {
  const life = begin(sink, environment, signal)
  void pollOn(request, sink, environment, life).then(life.end)
}

async function pollOn(
  request: TransportRequest,
  sink: TransportSink,
  environment: Environment,
  life: Lifetime,
): Promise<Ending> {
  // Silence is judged by a question that isn't answered, so each has to be answered well before.
  const wait = Math.max(1, Math.min(WAIT, Math.floor(request.silence / 2_000)))
  let { cursor } = request
  let isOpen = false
  while (!life.signal.aborted) {
    life.wait(request.silence, () => life.end({ kind: 'silence' }))
    const asked = environment.now()
    // The first does not wait: nobody knows that it is open before its answer.
    const answer = await pollOnce({ ...request, cursor }, isOpen ? wait : 0, environment, life.signal, ending =>
      life.wait(request.silence, () => life.end(ending)),
    )
    if ('kind' in answer) return answer
    if (life.signal.aborted) break
    if (!isOpen) sink.opened()
    const isFirst = !isOpen
    isOpen = true
    cursor = answer.cursor
    sink.frames(answer.frames)
    if (answer.frames.at(-1)?.type === 'close') return { kind: 'ended', cause: undefined }
    const idle = environment.now() - asked
    if (answer.frames.length === 1 && !isFirst && idle < PAUSE) await pause(PAUSE - idle, environment, life.signal)
  }
  // Aborted: nobody hears this.
  return { kind: 'ended', cause: undefined }
}
