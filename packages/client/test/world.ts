/** A browser as a test plays it: its clock, its network, its page. */

import { vi } from 'vitest'
import { environmentOf } from '../src/environment.js'
import type { Ending, Frame, Transport, TransportRequest, TransportSink } from '../src/source.js'
import type { CloseReason, Environment, LiveEvent } from '../src/types.js'

/** A connection that somebody asked for, and what the hub may do with it. */
export class Asked {
  ended = false
  readonly transport: string
  readonly request: TransportRequest
  readonly signal: AbortSignal
  readonly #sink: TransportSink

  constructor(transport: string, request: TransportRequest, sink: TransportSink, signal: AbortSignal) {
    this.transport = transport
    this.request = request
    this.signal = signal
    this.#sink = sink
  }

  get live(): boolean {
    return !this.ended && !this.signal.aborted
  }

  open(...frames: readonly Frame[]): this {
    this.#sink.opened()
    if (frames.length > 0) this.#sink.frames(frames)
    return this
  }

  send(...frames: readonly Frame[]): this {
    this.#sink.frames(frames)
    return this
  }

  end(ending: Ending = { kind: 'ended', cause: undefined }): void {
    this.ended = true
    this.#sink.ended(ending)
  }

  refuse(status: number, retryAfter?: number): void {
    this.end({ kind: 'refused', status, problem: undefined, retryAfter })
  }
}

/** Transports that are played by the test. */
export class Network {
  readonly asked: Asked[] = []

  readonly transport =
    (name: string): Transport =>
    (request, sink, _environment, signal) => {
      this.asked.push(new Asked(name, request, sink, signal))
    }

  get last(): Asked {
    const last = this.asked.at(-1)
    if (!last) throw new Error('nobody has asked for a connection')
    return last
  }

  /** Those that neither ended nor were let go. */
  get live(): readonly Asked[] {
    return this.asked.filter(asked => asked.live)
  }
}

/** A page that can be hidden, and told things. */
export class Page {
  readonly window: EventTarget = new EventTarget()
  readonly document: EventTarget & { visibilityState: DocumentVisibilityState } = Object.assign(new EventTarget(), {
    visibilityState: 'visible' as DocumentVisibilityState,
  })

  online(): void {
    this.window.dispatchEvent(new Event('online'))
  }

  show(visible: boolean): void {
    this.document.visibilityState = visible ? 'visible' : 'hidden'
    this.document.dispatchEvent(new Event('visibilitychange'))
  }

  /** Out of the browser's back/forward cache. */
  restore(): void {
    this.window.dispatchEvent(Object.assign(new Event('pageshow'), { persisted: true }))
  }
}

/** An environment on vitest's fake timers. `random` is always the greatest. */
export function world(replaced: Partial<Environment> = {}): Environment {
  return environmentOf({
    WebSocket: class {} as unknown as typeof WebSocket,
    SharedWorker: undefined,
    BroadcastChannel: undefined,
    locks: undefined,
    random: () => 1,
    window: undefined,
    document: undefined,
    location: undefined,
    fetch: () => Promise.reject(new Error('no network in this test')),
    ...replaced,
  })
}

/** Lets promises go on, and as much time pass. */
export async function pass(ms = 0): Promise<void> {
  await vi.advanceTimersByTimeAsync(ms)
}

export const EPOCH = '9f3c2a1b'

export function at(offset: number, epoch: string = EPOCH): string {
  return `${epoch}-${offset}`
}

export function event(
  offset: number | undefined,
  topic = 'book/1',
  name = 'book.updated',
  data: unknown = offset,
): Frame {
  const live: LiveEvent = { name, topic, data, cursor: offset === undefined ? undefined : at(offset), time: undefined }
  return { type: 'event', event: live }
}

export function cursor(offset: number): Frame {
  return { type: 'cursor', cursor: at(offset) }
}

export function gap(resumed: number): Frame {
  return { type: 'gap', gap: { reason: 'trimmed', asked: undefined, resumed: at(resumed), atMost: undefined } }
}

export function closing(code: number, reconnect: boolean, reason = 'reason'): Frame {
  const close: CloseReason = { code, reason, message: `said ${code}`, reconnect }
  return { type: 'close', close }
}
