import { pause } from '../transports/pause.js'
import type { Client, LiveEvent } from '../types.js'
import { pathOf } from './ask.js'
import { EVERY, Feed } from './feed.js'

/** How long the client's connection may be away before the job is asked about instead, in ms. */
const AWAY = 5_000

/**
 * A job by the connection that the client, or all pages of the browser, have anyway (protocol §10.2).
 *
 * Its topic brings what happens from its place on; what the job is at that place is asked once, and again after a gap.
 */
export class TopicFeed extends Feed {
  start(): void {
    // Throws where there are no jobs.
    pathOf(this.client, this.id)
    // Its names and their data are known to the compiler only.
    const client = this.client as unknown as Client
    const subscription = client.subscribe({
      topics: [`job/${this.id}`],
      onEvent: event => this.#hear(event),
      onGap: () => void this.ask(),
    })
    this.over.addEventListener('abort', () => subscription.unsubscribe())
    void this.#run()
  }

  #hear({ name, data }: LiveEvent): void {
    if (name === 'job.item') this.item(data)
    else if (name.startsWith('job.')) this.document(data)
  }

  async #run(): Promise<void> {
    // What is wanted now may reach whoever holds the connection some microtasks later, and until then it looks as before.
    for (let turn = 0; turn < 5; turn++) await undefined
    let patience = AWAY
    while (!this.over.aborted) {
      const isHeard = await this.#isHeard(patience)
      await this.ask()
      if (isHeard) await this.#lost()
      else if (!this.over.aborted) await pause(EVERY, this.environment, this.over)
      patience = 0
    }
  }

  /** Whether all that happens from now on is heard. */
  async #isHeard(patience: number): Promise<boolean> {
    const { setTimeout, clearTimeout } = this.environment
    const stop = new AbortController()
    const end = () => stop.abort()
    const timer = setTimeout(end, patience)
    this.over.addEventListener('abort', end)
    try {
      if (this.over.aborted) return false
      await this.client.position({ signal: stop.signal })
      return true
    } catch {
      return false
    } finally {
      clearTimeout(timer)
      this.over.removeEventListener('abort', end)
    }
  }

  /** Resolves when the connection is closed, or was away for too long. */
  #lost(): Promise<void> {
    const { setTimeout, clearTimeout } = this.environment
    return new Promise(resolve => {
      let timer: unknown
      const end = () => {
        clearTimeout(timer)
        unwatch()
        this.over.removeEventListener('abort', end)
        resolve()
      }
      const look = () => {
        const { status } = this.client.connection
        if (status === 'open') {
          clearTimeout(timer)
          timer = undefined
        } else if (status === 'closed') end()
        else timer ??= setTimeout(end, AWAY)
      }
      const unwatch = this.client.onConnection(look)
      this.over.addEventListener('abort', end)
      if (this.over.aborted) end()
      else look()
    })
  }
}
