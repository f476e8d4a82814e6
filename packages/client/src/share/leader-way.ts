import { TidingsError } from '../errors.js'
import { Holder } from './holder.js'
import { hold } from './locks.js'
import type { FromHolder, FromPage } from './messages.js'
import { Pulse } from './pulse.js'
import { newName, type OpenWay, type Way, type WayOptions } from './way.js'

/** How long a new leader waits for the other pages to say where they stand, in ms. A later one reads what it missed by itself. */
const GATHER = 300

/** How often a page that is seen asks whether the leader is well, in ms. One that dies releases its lock, and needs no question. */
const PERIOD = 1_000

/** How many of them a leader may be busy for: it is a page, and may have a lot to draw. */
const PATIENCE = 3

/** What goes over the channel. `to` is the name of a page, or all of them. */
type Envelope =
  | { readonly to: 'holder'; readonly message: FromPage }
  | { readonly to: string; readonly message: FromHolder }

/** One of the pages holds the connection: the one that has the lock. */
export const leaderWay: OpenWay = options => new LeaderWay(options)

/** Whether the pages of this name have a leader. */
export async function hasLeader(locks: LockManager, name: string): Promise<boolean> {
  const { held = [] } = await locks.query().catch((): LockManagerSnapshot => ({}))
  return held.some(lock => lock.name === leaderLock(name))
}

function leaderLock(name: string): string {
  return `${name}/leader`
}

class LeaderWay implements Way {
  readonly #options: WayOptions
  readonly #locks: LockManager
  readonly #channel: BroadcastChannel
  #pulse: Pulse
  /** Ends everything of this page. */
  readonly #stop = new AbortController()
  /** Ends waiting for the lock. */
  #turn = new AbortController()
  #holder: Holder | undefined
  #gathering: (() => void) | undefined

  constructor(options: WayOptions) {
    const { locks, BroadcastChannel } = options.environment
    if (!locks || !BroadcastChannel) throw new TypeError('the browser has no Web Locks or no BroadcastChannel')
    this.#options = options
    this.#locks = locks
    this.#channel = new BroadcastChannel(options.name)
    this.#channel.onmessage = (event: MessageEvent<Envelope>) => this.#receive(event.data)
    this.#pulse = this.#startPulse()
    void this.#begin()
  }

  get sharing(): 'leader' | 'follower' {
    return this.#holder ? 'leader' : 'follower'
  }

  visible(visible: boolean): void {
    this.#options.member.visible(visible)
    this.#pulse.visible(visible)
  }

  leave(): void {
    if (this.#stop.signal.aborted) return
    const { member } = this.#options
    this.#pulse.stop()
    if (!this.#holder) member.say({ type: 'bye', page: member.page })
    member.leave()
    this.#resign()
    this.#stop.abort()
    this.#turn.abort()
    this.#channel.close()
  }

  #startPulse(): Pulse {
    const { environment, member } = this.#options
    return new Pulse(environment, member.isVisible, {
      period: PERIOD,
      patience: () => PATIENCE,
      ping: () => member.ping(),
      dead: () => this.#depose(),
    })
  }

  async #begin(): Promise<void> {
    const { environment, member, name } = this.#options
    const page = newName(environment)
    const lock = `${name}/page/${page}`
    try {
      // Before anybody waits for it.
      await hold(this.#locks, lock, this.#stop.signal)
    } catch (cause) {
      this.#fail(cause)
      return
    }
    if (this.#stop.signal.aborted) return
    member.join(page, lock, message => this.#toHolder(message))
    this.#queue()
  }

  /** Waits for its turn to lead. `steal`: takes it from one that gives no answer. */
  #queue(steal = false): void {
    const turn = new AbortController()
    this.#turn = turn
    this.#locks
      // A stolen lock takes no signal (Web Locks §3.2).
      .request(this.#lock, steal ? { steal } : { signal: turn.signal }, () => this.#lead(turn.signal))
      .catch(cause => {
        if (turn.signal.aborted || this.#stop.signal.aborted) return
        if (this.#holder) this.#deposed()
        else this.#fail(cause)
      })
  }

  get #lock(): string {
    return leaderLock(this.#options.name)
  }

  /** Holds the connection until it resigns. */
  #lead(turn: AbortSignal): Promise<void> | undefined {
    if (turn.aborted || this.#stop.signal.aborted) return undefined
    const { member, settings, environment, open, options, token } = this.#options
    const over = new Promise<void>(resolve => turn.addEventListener('abort', () => resolve(), { once: true }))
    const id = newName(environment)
    this.#pulse.stop()
    const holder = new Holder({
      id,
      settings,
      environment,
      open,
      options,
      tell: (page, message) => (page === member.page ? member.hear(message) : this.#post({ to: page, message })),
      broadcast: message => {
        this.#post({ to: ALL, message })
        member.hear(message)
      },
      token,
      ended: () => {
        if (this.#holder === holder) this.#resign()
      },
    })
    this.#holder = holder
    member.tell()
    const announce: FromHolder = { type: 'announce' }
    member.hear(announce)
    this.#post({ to: ALL, message: announce })
    void this.#gather(holder)
    return over
  }

  /** Starts when all that wait for the lock, which are the other pages, have said where they stand. */
  async #gather(holder: Holder): Promise<void> {
    const { environment } = this.#options
    const start = () => {
      environment.clearTimeout(timer)
      this.#gathering = undefined
      holder.start()
    }
    const timer = environment.setTimeout(start, GATHER)
    const { pending = [] } = await this.#locks.query().catch((): LockManagerSnapshot => ({}))
    const pages = pending.filter(lock => lock.name === this.#lock && lock.mode === 'exclusive').length
    if (this.#holder !== holder) {
      environment.clearTimeout(timer)
      return
    }
    this.#gathering = () => {
      if (holder.pages > pages) start()
    }
    this.#gathering()
  }

  #resign(): void {
    const holder = this.#holder
    this.#holder = undefined
    this.#gathering = undefined
    holder?.close()
    this.#turn.abort()
  }

  /** The leader does not answer: frozen, or in an endless loop. */
  #depose(): void {
    if (this.#holder) return
    this.#turn.abort()
    this.#queue(true)
  }

  /** Somebody took the lock, as this page had stood still. It follows now, from where it is. */
  #deposed(): void {
    const { member } = this.#options
    this.#resign()
    this.#pulse = this.#startPulse()
    this.#queue()
    member.hear({ type: 'announce' })
    member.tell()
  }

  #receive(envelope: Envelope): void {
    if (this.#stop.signal.aborted) return
    if (isToHolder(envelope)) {
      this.#holder?.hear(envelope.message)
      this.#gathering?.()
      return
    }
    const { member } = this.#options
    if (envelope.to !== ALL && envelope.to !== member.page) return
    this.#pulse.heard()
    member.hear(envelope.message)
  }

  #toHolder(message: FromPage): void {
    if (this.#holder) this.#holder.hear(message)
    else this.#post({ to: 'holder', message })
  }

  #post(envelope: Envelope): void {
    if (!this.#stop.signal.aborted) this.#channel.postMessage(envelope)
  }

  #fail(cause: unknown): void {
    if (this.#stop.signal.aborted) return
    this.#options.failed(
      new TidingsError('sharing', 'pages can not share a connection here: locks are refused', {
        retrying: true,
        cause,
      }),
    )
  }
}

const ALL = 'pages'

function isToHolder(envelope: Envelope): envelope is Extract<Envelope, { to: 'holder' }> {
  return envelope.to === 'holder'
}
