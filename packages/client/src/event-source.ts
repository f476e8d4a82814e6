/**
 * An EventSource for whoever has one already: only the import changes (WHATWG HTML §9.2).
 *
 * It is read by `fetch`, and so it can send headers, see why it was refused, and come back where a browser's own gives up.
 */

import { DEFAULT_BACKOFF, LEAST_RETRY, reconnectDelay } from './backoff.js'
import { judge, type Verdict } from './ending.js'
import { environmentOf } from './environment.js'
import { TidingsError } from './errors.js'
import { reasonOf } from './failure.js'
import type { Ending } from './source.js'
import type { SseBlock } from './sse-parser.js'
import { LONGEST } from './timers.js'
import { Tokens } from './token.js'
import { forGood } from './transports/for-good.js'
import { closeOf, objectOf } from './transports/frames.js'
import { headersOf } from './transports/http.js'
import { begin } from './transports/lifetime.js'
import { EVENT_STREAM, readStream } from './transports/stream.js'
import type { Backoff, CloseReason, Environment, TokenProvider } from './types.js'

export type { ErrorCode, Problem } from './errors.js'
export { TidingsError } from './errors.js'
export type { Token, TokenProvider } from './types.js'

/** What a browser's takes, and more. */
export interface EventSourceOptions {
  /** Whether cookies are sent to other origins. */
  readonly withCredentials?: boolean | undefined
  /** More request headers. */
  readonly headers?: Readonly<Record<string, string>> | undefined
  /** A credential, sent as `Authorization: Bearer`. One that is given by a function is asked for anew when it was refused. */
  readonly token?: string | TokenProvider | undefined
  readonly fetch?: typeof fetch | undefined
  /** Go on from there: an id that came with the page. */
  readonly lastEventId?: string | undefined
  readonly backoff?: Partial<Backoff> | undefined
  /** Silence for longer than this, in ms, is a dead connection. Left out, any silence is borne, as servers may send no heartbeats. */
  readonly silence?: number | undefined
  /** What of the browser is replaced, in a test or outside of a browser. */
  readonly environment?: Partial<Environment> | undefined
}

/** The `error` event: the connection was lost, or refused for good if `readyState` is `CLOSED`. A browser's own says nothing more. */
export class StreamErrorEvent extends Event {
  readonly error: TidingsError
  /** The HTTP status, or the close code of protocol §5, if it was that. */
  readonly status: number | undefined
  readonly message: string

  constructor(error: TidingsError) {
    super('error')
    this.error = error
    this.status = error.status
    this.message = error.message
  }
}

type Browser = globalThis.EventSource

type Handler<E extends Event> = ((this: Browser, event: E) => unknown) | null

type Listener<E extends Event> = (this: Browser, event: E) => unknown

/**
 * A stream of events that comes back by itself.
 *
 * What it does beyond the standard: it comes back also after 408, 425, 429 and 5xx (with `Retry-After` as the least wait), with a delay
 * that is random and doubles, at once when the network or the page returns; it stays away after 204 and `tidings.close` with
 * `"reconnect":false`; and its `error` events say why. After another refusal, and after an answer that is no event stream, it is `CLOSED`,
 * as the standard asks.
 *
 * From another origin a `Last-Event-ID` costs a preflight, which a browser's own is spared: the server has to allow that header. A hub does
 * where `cors` lets the page read.
 */
export class EventSource extends EventTarget implements Browser {
  static readonly CONNECTING = 0
  static readonly OPEN = 1
  static readonly CLOSED = 2
  readonly CONNECTING = 0
  readonly OPEN = 1
  readonly CLOSED = 2

  readonly url: string
  readonly withCredentials: boolean
  readonly #options: EventSourceOptions
  readonly #environment: Environment
  readonly #tokens: Tokens
  readonly #over = new AbortController()
  readonly #handlers = new Map<string, { handler: (event: Event) => unknown; listener: (event: Event) => void }>()
  #readyState: 0 | 1 | 2 = 0
  #lastEventId: string
  #base: number
  /** How many attempts have failed since it was last open. */
  #attempt = 0
  #timer: unknown
  /** Until then a `Retry-After` counts. */
  #notBefore = 0
  #origin = ''
  /** The last credential was refused. */
  #refused = false

  /** Begins to connect. Throws a `SyntaxError` if `url` is none. */
  constructor(url: string | URL, options: EventSourceOptions = {}) {
    super()
    const replaced = options.fetch ? { fetch: options.fetch } : {}
    this.#environment = environmentOf({ ...options.environment, ...replaced })
    this.url = resolve(url, this.#environment.location)
    this.withCredentials = options.withCredentials ?? false
    this.#options = options
    this.#tokens = new Tokens(options.token, this.#environment)
    this.#lastEventId = options.lastEventId ?? ''
    this.#base = options.backoff?.base ?? DEFAULT_BACKOFF.base
    const { window, document } = this.#environment
    window?.addEventListener('online', this.#hurry)
    document?.addEventListener('visibilitychange', this.#hurry)
    void this.#connect()
  }

  get readyState(): 0 | 1 | 2 {
    return this.#readyState
  }

  get onopen(): Handler<Event> {
    return this.#handler('open')
  }
  set onopen(handler: Handler<Event>) {
    this.#handle('open', handler)
  }

  get onmessage(): Handler<MessageEvent> {
    return this.#handler('message')
  }
  set onmessage(handler: Handler<MessageEvent>) {
    this.#handle('message', handler as Handler<Event>)
  }

  get onerror(): Handler<Event> {
    return this.#handler('error')
  }
  set onerror(handler: Handler<Event>) {
    this.#handle('error', handler)
  }

  override addEventListener<Type extends keyof EventSourceEventMap>(
    type: Type,
    listener: Listener<EventSourceEventMap[Type]>,
    options?: boolean | AddEventListenerOptions,
  ): void
  override addEventListener(
    type: string,
    listener: Listener<MessageEvent>,
    options?: boolean | AddEventListenerOptions,
  ): void
  override addEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: boolean | AddEventListenerOptions,
  ): void
  override addEventListener(type: string, listener: unknown, options?: boolean | AddEventListenerOptions): void {
    super.addEventListener(type, listener as EventListener, options)
  }

  override removeEventListener<Type extends keyof EventSourceEventMap>(
    type: Type,
    listener: Listener<EventSourceEventMap[Type]>,
    options?: boolean | EventListenerOptions,
  ): void
  override removeEventListener(
    type: string,
    listener: Listener<MessageEvent>,
    options?: boolean | EventListenerOptions,
  ): void
  override removeEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: boolean | EventListenerOptions,
  ): void
  override removeEventListener(type: string, listener: unknown, options?: boolean | EventListenerOptions): void {
    super.removeEventListener(type, listener as EventListener, options)
  }

  /** Ends it for good. No event is dispatched after this. */
  close(): void {
    this.#readyState = 2
    this.#over.abort()
    this.#environment.clearTimeout(this.#timer)
    const { window, document } = this.#environment
    window?.removeEventListener('online', this.#hurry)
    document?.removeEventListener('visibilitychange', this.#hurry)
  }

  #handler<E extends Event>(type: string): Handler<E> {
    return (this.#handlers.get(type)?.handler as Handler<E> | undefined) ?? null
  }

  /** An event handler keeps its place among the listeners when it is replaced (WHATWG HTML §8.1.8.1). */
  #handle(type: string, handler: Handler<Event>): void {
    const there = this.#handlers.get(type)
    if (typeof handler !== 'function') {
      if (there) super.removeEventListener(type, there.listener)
      this.#handlers.delete(type)
    } else if (there) there.handler = handler
    else {
      const entry = { handler, listener: (event: Event) => entry.handler.call(this, event) }
      this.#handlers.set(type, entry)
      super.addEventListener(type, entry.listener)
    }
  }

  /** The network is back, or the page is looked at: no need to wait on, unless the server asked for it. */
  readonly #hurry = (): void => {
    const { document, now } = this.#environment
    if (this.#timer === undefined || document?.visibilityState === 'hidden' || now() < this.#notBefore) return
    this.#environment.clearTimeout(this.#timer)
    void this.#connect()
  }

  async #connect(): Promise<void> {
    this.#timer = undefined
    const { signal } = this.#over
    let headers: Headers
    try {
      headers = await this.#headers(signal)
    } catch (cause) {
      const error = cause instanceof TidingsError ? cause : new TidingsError('refused', reasonOf(cause), { cause })
      if (error.retrying) this.#wait(error, 0)
      else this.#fail(error)
      return
    }
    if (signal.aborted) return
    let close: CloseReason | undefined
    const life = begin({ ended: ending => this.#ended(ending, close) }, this.#environment, signal)
    const hears = {
      opened: (response: Response) => this.#opened(response),
      retry: (ms: number) => {
        this.#base = Math.max(ms, LEAST_RETRY)
      },
      block: (block: SseBlock) => {
        close ??= lastWords(block)
        this.#dispatch(block)
      },
      read: () => {},
    }
    const credentials = this.withCredentials ? 'include' : 'same-origin'
    const request = (): [URL, RequestInit] => [new URL(this.url), { headers, credentials }]
    void readStream(request, this.#options.silence ?? 0, hears, this.#environment, life)
  }

  async #headers(signal: AbortSignal): Promise<Headers> {
    const { token } = (await this.#tokens.get(this.#refused, signal)) ?? {}
    const headers = headersOf({ headers: this.#options.headers ?? {}, token }, EVENT_STREAM)
    if (this.#lastEventId) headers.set('last-event-id', asHeader(this.#lastEventId))
    return headers
  }

  #opened(response: Response): void {
    this.#origin = new URL(response.url || this.url).origin
    this.#readyState = 1
    this.#attempt = 0
    this.#refused = false
    this.dispatchEvent(new Event('open'))
  }

  #dispatch({ name, data, id }: SseBlock): void {
    if (this.#readyState === 2) return
    if (id !== undefined) this.#lastEventId = id
    if (data === undefined) return
    // Also where the name is `error` or `open`: the standard makes no difference.
    this.dispatchEvent(
      new MessageEvent(name || 'message', { data, lastEventId: this.#lastEventId, origin: this.#origin }),
    )
  }

  #ended(ending: Ending, close: CloseReason | undefined): void {
    const verdict = this.#judge(ending, close)
    if (verdict.next === 'close' || verdict.next === 'fall') this.#fail(verdict.error)
    else {
      this.#refused = verdict.next === 'refresh'
      // A new credential need not wait: the old one was refused, and not the client.
      const atOnce = this.#refused && ending.kind === 'refused'
      this.#wait(verdict.error, verdict.least ?? 0, atOnce)
    }
  }

  #judge(ending: Ending, close: CloseReason | undefined): Verdict {
    const verdict = judge(ending, close, this.#refused)
    // Nobody gives another credential here.
    const isFinal = verdict.next === 'refresh' && typeof this.#options.token !== 'function' && close?.reconnect !== true
    return isFinal ? { next: 'close', error: verdict.error } : verdict
  }

  #wait(error: TidingsError, least: number, atOnce = false): void {
    if (this.#readyState === 2) return
    const { now, random, setTimeout } = this.#environment
    const backoff = { base: this.#base, cap: Math.max(this.#options.backoff?.cap ?? DEFAULT_BACKOFF.cap, this.#base) }
    const delay = atOnce ? 0 : Math.min(reconnectDelay(this.#attempt++, backoff, random, least), LONGEST)
    this.#notBefore = now() + least
    this.#readyState = 0
    this.#timer = setTimeout(() => void this.#connect(), delay)
    this.dispatchEvent(new StreamErrorEvent(error))
  }

  #fail(error: TidingsError): void {
    if (this.#readyState === 2) return
    this.close()
    this.dispatchEvent(new StreamErrorEvent(forGood(error)))
  }
}

/** The absolute address, as a browser's EventSource has it. */
function resolve(url: string | URL, location: string | undefined): string {
  try {
    return new URL(url, location).href
  } catch {
    throw new DOMException(`cannot open an EventSource to '${url}': it is no URL`, 'SyntaxError')
  }
}

/** The end of which the hub tells before it (protocol §5). */
function lastWords({ name, data }: SseBlock): CloseReason | undefined {
  if (name !== 'tidings.close') return undefined
  try {
    const frame = closeOf(objectOf(data))
    return frame.type === 'close' ? frame.close : undefined
  } catch {
    // Somebody else's event of that name.
    return undefined
  }
}

/** UTF-8, one character for each byte, as `fetch` takes headers. */
function asHeader(id: string): string {
  return Array.from(new TextEncoder().encode(id), byte => String.fromCharCode(byte)).join('')
}
