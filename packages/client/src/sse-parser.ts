/**
 * Server-Sent Events, from bytes (WHATWG HTML §9.2.6), with the fields `topic` and `time` of protocol §2.3.
 */

import { TidingsError } from './errors.js'

/** What stands between two blank lines. */
export interface SseBlock {
  /** The field `event`; empty if there was none. */
  readonly name: string
  /** The `data` lines, joined by LF. `undefined` where there was none: nothing is to be dispatched, only the id counts. */
  readonly data: string | undefined
  /** The field `id` of this block itself, `undefined` if it had none. A client keeps the last one it saw. */
  readonly id: string | undefined
  readonly topic: string
  /** ms since 1970. */
  readonly time: number | undefined
}

/** Where a parser hands over what it has read. */
export interface SseSink {
  block(block: SseBlock): void
  /** After how many ms to come back. */
  retry(ms: number): void
}

/** The most that one block may hold, in UTF-16 code units: a server may send for ever, but memory is not for ever. */
export const BLOCK_LIMIT: number = 16 << 20

/**
 * Makes a parser: it is fed with bytes, however they were cut, and hands over each block when its blank line has come.
 *
 * What is left at the end of a stream is no block and is dropped, as the standard asks. Feeding throws a {@link TidingsError}
 * (`protocol`) once a block is larger than {@link BLOCK_LIMIT}, after everything before it was handed over.
 */
export function sseParser(sink: SseSink, limit: number = BLOCK_LIMIT): (bytes: Uint8Array) => void {
  // Takes off a byte order mark, and puts together characters that were cut.
  const decoder = new TextDecoder()
  // The beginning of a line whose end has not come. Pieces, as adding to one string and searching it again would be quadratic.
  let pieces: string[] = []
  let held = 0
  let afterCr = false
  let name = ''
  let data: string | undefined
  let id: string | undefined
  let topic = ''
  let time: number | undefined

  const hold = (size: number): void => {
    held += size
    if (held > limit) throw new TidingsError('protocol', `a block of the stream is larger than ${limit} characters`)
  }

  const readLine = (line: string): void => {
    if (line === '') {
      if (data !== undefined || id !== undefined) sink.block({ name, data, id, topic, time })
      name = topic = ''
      data = id = time = undefined
      held = 0
      return
    }
    const colon = line.indexOf(':')
    const end = colon < 0 ? line.length : colon
    const field = line.slice(0, end)
    const value = line.slice(line[end + 1] === ' ' ? end + 2 : end + 1)
    if (field === 'data') {
      data = data === undefined ? value : `${data}\n${value}`
      return
    }
    // Comments, whose field is empty, come for as long as the stream is quiet: they don't add up.
    held -= line.length
    if (field === 'event') name = value
    else if (field === 'topic') topic = value
    else if (field === 'id') id = value.includes('\0') ? id : value
    else if (/^\d+$/.test(value)) {
      if (field === 'time') time = Number(value)
      if (field === 'retry') sink.retry(Number(value))
    }
  }

  return bytes => {
    const text = decoder.decode(bytes, { stream: true })
    let start = 0
    if (afterCr && text !== '') {
      afterCr = false
      if (text[0] === '\n') start = 1
    }
    let lf = text.indexOf('\n', start)
    let cr = text.indexOf('\r', start)
    while (lf >= 0 || cr >= 0) {
      const isCr = cr >= 0 && (lf < 0 || cr < lf)
      const end = isCr ? cr : lf
      let line = text.slice(start, end)
      hold(line.length)
      if (pieces.length > 0) {
        line = pieces.join('') + line
        pieces = []
      }
      readLine(line)
      start = end + 1
      if (isCr) {
        // CRLF is one end; its second half may be yet to come.
        if (start === text.length) afterCr = true
        else if (lf === start) start++
        cr = text.indexOf('\r', start)
      }
      if (lf >= 0 && lf < start) lf = text.indexOf('\n', start)
    }
    if (start < text.length) {
      const rest = text.slice(start)
      hold(rest.length)
      pieces.push(rest)
    }
  }
}
