import { TidingsError } from '../errors.js'
import type { Settings } from '../source.js'
import { hold, whenReleased } from './locks.js'
import type { FromHolder, FromPage } from './messages.js'
import { Pulse } from './pulse.js'
import { newName, type OpenWay, type Way, type WayOptions } from './way.js'

/** How often a page that is seen asks whether the worker lives, in ms. One missing answer is its death: it has nothing else to do. */
const PERIOD = 1_000
const PATIENCE = 1

/** How many answers may be missing while its lock is held, so that it lives and was only kept from its work. */
const PATIENCE_ALIVE = 15

/** After this many messages a page says that it is there, so that one that stands still is sent no more. */
const ACKNOWLEDGE = 64

/** The first thing a page says to the worker. */
export interface Opening {
  readonly type: 'settings'
  readonly settings: Settings
}

/** A SharedWorker holds the connection. */
export const workerWay: OpenWay = options => new WorkerWay(options)

class WorkerWay implements Way {
  readonly sharing = 'worker'
  readonly #options: WayOptions
  readonly #port: MessagePort
  readonly #pulse: Pulse
  readonly #stop = new AbortController()
  #received = 0
  #watched = false

  constructor(options: WayOptions) {
    this.#options = options
    const { environment, member, settings } = options
    const worker = openWorker(options)
    // Not found, forbidden by a policy, or broken.
    worker.onerror = event => {
      event.preventDefault()
      this.#fail(
        'the shared worker could not be started: its script was not found, or a policy forbids it (worker-src)',
      )
    }
    this.#port = worker.port
    this.#port.onmessage = (event: MessageEvent<FromHolder>) => this.#receive(event.data)
    this.#port.postMessage({ type: 'settings', settings } satisfies Opening)
    this.#pulse = new Pulse(environment, member.isVisible, {
      period: PERIOD,
      patience: () => (this.#watched ? PATIENCE_ALIVE : PATIENCE),
      ping: () => member.ping(),
      dead: () => this.#fail('the shared worker gives no answer'),
    })
    void this.#begin()
  }

  visible(visible: boolean): void {
    this.#options.member.visible(visible)
    this.#pulse.visible(visible)
  }

  logout(): void {
    this.#post({ type: 'logout', page: this.#options.member.page })
  }

  leave(): void {
    if (this.#stop.signal.aborted) return
    const { member } = this.#options
    member.say({ type: 'bye', page: member.page })
    member.leave()
    this.#stop.abort()
    this.#pulse.stop()
    this.#port.close()
  }

  async #begin(): Promise<void> {
    const { environment, member, name } = this.#options
    const page = newName(environment)
    const lock = await holdIfPossible(environment.locks, `${name}/page/${page}`, this.#stop.signal)
    if (!this.#stop.signal.aborted) member.join(page, lock, message => this.#post(message))
  }

  #receive(message: FromHolder): void {
    if (this.#stop.signal.aborted) return
    this.#pulse.heard()
    this.#received += 1
    if (this.#received % ACKNOWLEDGE === 0) this.#options.member.ping()
    if (message.type === 'joined' && message.lock !== undefined) this.#watch(message.lock)
    this.#options.member.hear(message)
  }

  /** Learns at once that the worker has died, also while it is hidden. */
  #watch(lock: string): void {
    const { locks } = this.#options.environment
    if (this.#watched || !locks) return
    this.#watched = true
    whenReleased(locks, lock, this.#stop.signal, () => this.#fail('the shared worker has died'))
  }

  #post(message: FromPage): void {
    if (!this.#stop.signal.aborted) this.#port.postMessage(message)
  }

  #fail(why: string): void {
    if (this.#stop.signal.aborted) return
    this.#options.failed(new TidingsError('sharing', why, { retrying: true }))
  }
}

function openWorker({ options, name }: WayOptions): SharedWorker {
  if (options.worker) return options.worker(name)
  // In these very words, by which bundlers know that the script is to be put beside this one.
  return new SharedWorker(new URL('./worker.js', import.meta.url), { type: 'module', name })
}

/** On plain HTTP there are workers, but no locks: then pings and farewells have to do. */
async function holdIfPossible(
  locks: LockManager | undefined,
  name: string,
  signal: AbortSignal,
): Promise<string | undefined> {
  if (!locks) return undefined
  try {
    await hold(locks, name, signal)
    return name
  } catch {
    return undefined
  }
}
