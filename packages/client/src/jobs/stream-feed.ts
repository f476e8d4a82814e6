import { TidingsError } from '../errors.js'
import { EventSource, type StreamErrorEvent } from '../event-source.js'
import { settle } from '../settings.js'
import { jsonOf, pathOf } from './ask.js'
import { Feed } from './feed.js'
import { heals } from './report.js'

/** A hub sends the head and the first bytes of a stream at once; without one for this long, in ms, something holds them back. */
const FIRST_BYTE = 5_000

/** A stream that is cut sooner than this is short-lived, in ms, and so many in a row are no accident. */
const SHORT = 20_000
const ROW = 3

/** The names of protocol §10.2 that have the document as data. */
const STATES = ['queued', 'running', 'canceling', 'completed', 'failed', 'canceled', 'lost', 'progress']

/** A job by a stream of its own, which comes back by itself (protocol §10.4): its token counts for nothing else. */
export class StreamFeed extends Feed {
  start(): void {
    const { now, setTimeout, clearTimeout } = this.environment
    const { options } = this.client
    const url = new URL(pathOf(this.client, this.id, '/events'), settle(options, this.environment).url)
    let opened: number | undefined
    let row = 0
    let timer: unknown

    const source = new EventSource(url, {
      environment: this.environment,
      backoff: options.backoff,
      silence: options.silence ?? 45_000,
      fetch: (input, init = {}) => {
        clearTimeout(timer)
        timer = setTimeout(blocked, FIRST_BYTE)
        return this.#request(String(input), init)
      },
    })
    const stop = (): void => {
      clearTimeout(timer)
      source.close()
    }
    const poll = (): void => {
      stop()
      void this.poll()
    }
    const blocked = (): void => {
      this.complain(new TidingsError('proxy', 'the stream of a job does not get through: it is asked about every 2 s'))
      poll()
    }
    this.over.addEventListener('abort', stop)

    source.onopen = () => {
      opened = now()
    }
    const heard = (): void => {
      clearTimeout(timer)
    }
    source.addEventListener('tidings.open', heard)
    source.addEventListener('tidings.close', () => {
      // It ends for a reason, and not by accident.
      opened = undefined
      row = 0
    })
    source.addEventListener('job.item', ({ data }) => {
      heard()
      this.item(jsonOf(String(data)))
    })
    for (const state of STATES) {
      source.addEventListener(`job.${state}`, ({ data }) => {
        heard()
        this.document(jsonOf(String(data)))
      })
    }
    source.onerror = event => {
      clearTimeout(timer)
      if (this.over.aborted) return
      const { error, status } = event as StreamErrorEvent
      const isShort = opened !== undefined && now() - opened < SHORT
      row = isShort ? row + 1 : opened === undefined ? row : 0
      opened = undefined
      if (source.readyState !== EventSource.CLOSED) {
        if (row >= ROW) blocked()
        else this.complain(error)
      } else if (error.code === 'content-type' || error.code === 'protocol') blocked()
      // The end was told to somebody who had this place, or it is not told here any more.
      else if (status === 204 || status === 4007) poll()
      else this.fail(error)
    }
  }

  /** With the job's own credential, if any; the client adds its own where there is none. */
  async #request(url: string, init: RequestInit): Promise<Response> {
    const headers = new Headers(init.headers)
    if (this.token !== undefined) headers.set('authorization', `Bearer ${this.token}`)
    const { credentials = 'same-origin' } = this.client.options
    try {
      return await this.client.request(url, { ...init, headers, credentials })
    } catch (error) {
      // A stream comes back after whatever its request fails of. Where that is of no use, it is told.
      if (!heals(error) && !init.signal?.aborted) this.fail(error)
      throw error
    }
  }
}
