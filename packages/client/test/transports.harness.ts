// A browser that does as it is told, for the tests of the transports: its clock, its network and its sockets.
import { environmentOf } from '../src/environment.js'
import type { Ending, Frame, Transport, TransportRequest } from '../src/source.js'
// Loaded here, so that a refusal needs a few microtasks and no more.
import '../src/transports/problem.js'
import type { Environment } from '../src/types.js'

const encoder = new TextEncoder()

/** Lets everything happen that waits for nothing but its turn. */
export async function settled(): Promise<void> {
  for (let turn = 0; turn < 30; turn++) await new Promise(done => setImmediate(done))
}

/** A clock that stands still until it is moved. */
export class Clock {
  now = 1_768_600_000_000
  #timers = new Map<number, { at: number; run: () => void }>()
  #next = 1

  get waiting(): number {
    return this.#timers.size
  }

  readonly setTimeout = (run: () => void, ms: number): unknown => {
    this.#timers.set(this.#next, { at: this.now + ms, run })
    return this.#next++
  }

  readonly clearTimeout = (timer: unknown): void => {
    this.#timers.delete(timer as number)
  }

  /** Moves on, and runs what is due, in order. */
  async pass(ms: number): Promise<void> {
    const until = this.now + ms
    await settled()
    for (;;) {
      const [due] = [...this.#timers].filter(([, { at }]) => at <= until).sort(([, a], [, b]) => a.at - b.at)
      if (!due) break
      this.#timers.delete(due[0])
      this.now = due[1].at
      due[1].run()
      await settled()
    }
    this.now = until
  }
}

/** One request that is under way, to be answered by the test. */
export class Call {
  #resolve: (response: Response) => void = () => {}
  #reject: (error: unknown) => void = () => {}
  readonly answer = new Promise<Response>((resolve, reject) => {
    this.#resolve = resolve
    this.#reject = reject
  })
  #body: ReadableStreamDefaultController<Uint8Array> | undefined
  /** Whether the client gave the body up. */
  canceled = false

  readonly url: URL
  readonly init: RequestInit

  constructor(url: URL, init: RequestInit, obeys: boolean) {
    this.url = url
    this.init = init
    if (!obeys) return
    this.signal.addEventListener('abort', () => {
      const error = new DOMException('aborted', 'AbortError')
      this.#reject(error)
      try {
        this.#body?.error(error)
      } catch {}
    })
  }

  get signal(): AbortSignal {
    return this.init.signal ?? new AbortController().signal
  }

  get headers(): Headers {
    return new Headers(this.init.headers)
  }

  /** Answers with a body that goes on. */
  async stream(headers: Record<string, string> = { 'content-type': 'text/event-stream' }, status = 200): Promise<void> {
    const body = new ReadableStream<Uint8Array>({
      start: controller => {
        this.#body = controller
      },
      cancel: () => {
        this.canceled = true
      },
    })
    this.#resolve(new Response(body, { status, headers }))
    await settled()
  }

  async send(...pieces: (string | Uint8Array)[]): Promise<void> {
    for (const piece of pieces) {
      this.#body?.enqueue(typeof piece === 'string' ? encoder.encode(piece) : piece)
      await settled()
    }
  }

  async end(): Promise<void> {
    this.#body?.close()
    await settled()
  }

  async cut(error: unknown = new TypeError('network error')): Promise<void> {
    this.#body?.error(error)
    await settled()
  }

  /** Answers with all there is. */
  async reply(status: number, body: unknown, headers: Record<string, string> = {}): Promise<void> {
    const text = typeof body === 'string' || body === null ? body : JSON.stringify(body)
    const type = typeof body === 'string' ? 'text/html' : 'application/json'
    this.#resolve(new Response(text, { status, headers: { 'content-type': type, ...headers } }))
    await settled()
  }

  async fail(error: unknown = new TypeError('fetch failed')): Promise<void> {
    this.#reject(error)
    await settled()
  }
}

/** A WebSocket whose other side is the test. */
export class FakeSocket {
  static readonly made: FakeSocket[] = []
  onopen: (() => void) | null = null
  onmessage: ((event: { data: unknown }) => void) | null = null
  onclose: ((event: { code: number; reason: string }) => void) | null = null
  onerror: (() => void) | null = null
  readonly sent: unknown[] = []
  closed = false

  readonly url: URL
  readonly protocols: string[]

  constructor(url: URL, protocols: string[]) {
    this.url = url
    this.protocols = protocols
    if (protocols.some(protocol => /[^\w.~-]/.test(protocol))) throw new DOMException('no token', 'SyntaxError')
    FakeSocket.made.push(this)
  }

  send(text: string): void {
    this.sent.push(JSON.parse(text))
  }

  close(): void {
    this.closed = true
  }

  says(...messages: unknown[]): void {
    for (const data of messages) this.onmessage?.({ data: typeof data === 'object' ? JSON.stringify(data) : data })
  }

  async ends(code: number, reason = ''): Promise<void> {
    this.onclose?.({ code, reason })
    await settled()
  }
}

/** A browser, and what a transport did in it. */
export function browser({ obeys = true, location = undefined as string | undefined } = {}) {
  const clock = new Clock()
  const calls: Call[] = []
  FakeSocket.made.length = 0
  const environment: Environment = environmentOf({
    fetch: (async (url: URL, init: RequestInit) => {
      const call = new Call(new URL(url), init, obeys)
      calls.push(call)
      return call.answer
    }) as typeof fetch,
    WebSocket: FakeSocket as unknown as typeof WebSocket,
    now: () => clock.now,
    random: () => 0.5,
    setTimeout: clock.setTimeout,
    clearTimeout: clock.clearTimeout,
    window: undefined,
    document: undefined,
    location,
  })
  return {
    clock,
    calls,
    environment,
    last: () => calls.at(-1) as Call,
    socket: () => FakeSocket.made.at(-1) as FakeSocket,
  }
}

/** A connection, and all that it has told. */
export function connect(
  transport: Transport,
  { environment }: { environment: Environment },
  asked: Partial<TransportRequest> = {},
) {
  const batches: (readonly Frame[])[] = []
  const endings: Ending[] = []
  const abort = new AbortController()
  const sink = {
    opened: () => void told.opened++,
    frames: (frames: readonly Frame[]) => void batches.push(frames),
    ended: (ending: Ending) => void endings.push(ending),
  }
  const request: TransportRequest = {
    url: new URL('https://hub.example/v1/events'),
    query: {},
    topics: undefined,
    cursor: undefined,
    token: undefined,
    headers: {},
    credentials: 'same-origin',
    silence: 45_000,
    ...asked,
  }
  const told = { request, batches, endings, abort, opened: 0, frames: () => batches.flat() }
  transport(request, sink, environment, abort.signal)
  return told
}
