import type { Connection } from '@tidings/client'
import { TidingsError } from '@tidings/client/errors'

/** A block of Server-Sent Events, with the fields of protocol §2.3. */
export interface Block {
  readonly event: string
  readonly data: string
  readonly id: string | undefined
  readonly topic: string | undefined
  readonly time: number | undefined
}

export interface StreamHandlers {
  blocks(blocks: readonly Block[]): void
  state(state: Pick<Connection, 'status' | 'retryAt' | 'attempt' | 'error'>): void
}

/** Listens to a stream of the hub, and comes back when it ends; the answer ends it. Goes on from the last id. */
export function listen(url: URL, key: string | undefined, handlers: StreamHandlers, from?: string): { close(): void; now(): void } {
  const ending = new AbortController()
  let cursor = from
  let attempt = 0
  let wake: (() => void) | undefined

  async function once(): Promise<void> {
    const headers = new Headers({ accept: 'text/event-stream' })
    if (key) headers.set('authorization', `Bearer ${key}`)
    if (cursor) headers.set('last-event-id', cursor)
    const response = await fetch(url, { headers, signal: ending.signal })
    if (response.status === 401 || response.status === 403)
      throw new TidingsError('unauthorized', `The hub refused with ${response.status}.`, { status: response.status })
    if (!response.ok || !response.body) throw new TidingsError('unavailable', `The hub refused with ${response.status}.`)
    attempt = 0
    handlers.state({ status: 'open', retryAt: undefined, attempt, error: undefined })
    let rest = ''
    for await (const piece of response.body.pipeThrough(new TextDecoderStream())) {
      const parts = (rest + piece).split('\n\n')
      rest = parts.pop() ?? ''
      const blocks = parts.map(parse).filter(block => block !== undefined)
      for (const { id } of blocks) cursor = id ?? cursor
      if (blocks.length) handlers.blocks(blocks)
    }
  }

  async function loop(): Promise<void> {
    while (!ending.signal.aborted) {
      let error = new TidingsError('network', 'The hub does not answer.')
      try {
        await once()
      } catch (cause) {
        if (cause instanceof TidingsError) error = cause
      }
      if (ending.signal.aborted) return
      if (error.code === 'unauthorized') {
        handlers.state({ status: 'closed', retryAt: undefined, attempt, error })
        return
      }
      const ms = Math.min(15_000, 1000 * 2 ** attempt) * (0.5 + Math.random() / 2)
      attempt++
      handlers.state({ status: 'waiting', retryAt: Date.now() + ms, attempt, error })
      await new Promise<void>(done => {
        wake = done
        setTimeout(done, ms)
      })
      if (!ending.signal.aborted) handlers.state({ status: 'connecting', retryAt: undefined, attempt, error })
    }
  }
  void loop()
  return {
    close: () => {
      ending.abort()
      wake?.()
    },
    now: () => wake?.(),
  }
}

function parse(text: string): Block | undefined {
  const fields: Record<string, string> = {}
  for (const line of text.split('\n')) {
    const colon = line.indexOf(':')
    if (colon <= 0) continue
    const name = line.slice(0, colon)
    const value = line.slice(colon + 1).replace(/^ /, '')
    fields[name] = name === 'data' && fields.data !== undefined ? `${fields.data}\n${value}` : value
  }
  if (fields.event === undefined) return undefined
  const time = fields.time === undefined ? undefined : Number(fields.time)
  return { event: fields.event, data: fields.data ?? '', id: fields.id, topic: fields.topic, time }
}
