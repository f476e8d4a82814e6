/** Ports and channels between the pages of a browser: ordered for each pair, cloned, and delivered as tasks. */

import type { Scheduler } from './scheduler.js'

type Listener = ((event: MessageEvent) => void) | null

export class Port {
  onmessage: Listener = null
  peer: Port | undefined
  readonly #scheduler: Scheduler
  readonly owner: string
  readonly #queue: string
  #closed = false

  constructor(scheduler: Scheduler, owner: string, queue: string) {
    this.#scheduler = scheduler
    this.owner = owner
    this.#queue = queue
  }

  postMessage(message: unknown): void {
    const { peer } = this
    if (this.#closed || !peer || this.#scheduler.isDead(this.owner)) return
    const data = structuredClone(message)
    this.#scheduler.post(peer.owner, peer.#queue, () => {
      if (!peer.#closed) peer.onmessage?.({ data } as MessageEvent)
    })
  }

  close(): void {
    this.#closed = true
  }
}

/** Both ends of a MessageChannel, between two owners. */
export function portPair(scheduler: Scheduler, one: string, other: string, name: string): [Port, Port] {
  const [a, b] = [new Port(scheduler, one, name), new Port(scheduler, other, name)]
  a.peer = b
  b.peer = a
  return [a, b]
}

export class Channels {
  readonly #scheduler: Scheduler
  readonly #open = new Set<{ owner: string; name: string; onmessage: Listener }>()
  /** Every message that was sent, for those who look for secrets. */
  readonly sent: unknown[] = []

  constructor(scheduler: Scheduler) {
    this.#scheduler = scheduler
  }

  /** The BroadcastChannel of one page. */
  of(owner: string): typeof BroadcastChannel {
    const channels = this
    class Channel {
      onmessage: Listener = null
      readonly owner = owner
      readonly name: string

      constructor(name: string) {
        this.name = name
        channels.#open.add(this)
      }

      postMessage(message: unknown): void {
        if (!channels.#open.has(this)) throw new DOMException('the channel is closed', 'InvalidStateError')
        channels.#post(this, message)
      }

      close(): void {
        channels.#open.delete(this)
      }
    }
    return Channel as unknown as typeof BroadcastChannel
  }

  release(owner: string): void {
    for (const channel of this.#open) if (channel.owner === owner) this.#open.delete(channel)
  }

  ownedBy(owner: string): number {
    return [...this.#open].filter(channel => channel.owner === owner).length
  }

  #post(from: { owner: string; name: string }, message: unknown): void {
    if (this.#scheduler.isDead(from.owner)) return
    const data = structuredClone(message)
    this.sent.push(data)
    for (const to of this.#open) {
      if (to === from || to.name !== from.name) continue
      this.#scheduler.post(to.owner, `channel from ${from.owner}`, () => {
        if (this.#open.has(to)) to.onmessage?.({ data } as MessageEvent)
      })
    }
  }
}
