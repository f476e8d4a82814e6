import { isPast } from './cursor.js'
import type { Batch, Frame } from './source.js'
import type { CloseReason } from './types.js'

/** What came together, read from a place on. */
export interface Reading {
  /** What of it is new. */
  readonly frames: Batch['frames']
  /** The place after it. */
  readonly cursor: string | undefined
  /** The last `retry:` among it, in ms. */
  readonly retry: number | undefined
  /** Why the hub ends it. What would come after that does not count. */
  readonly close: CloseReason | undefined
}

/** Reads on from `cursor`: what lies at or before it was told already, and is dropped. What has no place is always new. */
export function readOn(frames: readonly Frame[], cursor: string | undefined): Reading {
  const kept: Batch['frames'][number][] = []
  let retry: number | undefined
  for (const frame of frames) {
    switch (frame.type) {
      case 'event':
        if (frame.event.cursor !== undefined) {
          if (isPast(frame.event.cursor, cursor)) break
          cursor = frame.event.cursor
        }
        kept.push(frame)
        break
      case 'gap':
        cursor = frame.gap.resumed
        kept.push(frame)
        break
      case 'cursor':
        if (!isPast(frame.cursor, cursor)) cursor = frame.cursor
        break
      case 'retry':
        retry = frame.ms
        break
      case 'close':
        return { frames: kept, cursor, retry, close: frame.close }
    }
  }
  return { frames: kept, cursor, retry, close: undefined }
}
