import type { Batch } from '../source.js'

/** The most frames of one message to a page: it takes them in within one frame of its screen, and draws before it takes in the next. */
const MOST = 1_000

/** A batch in parts, each with its own places, so that a burst is no task of a page that keeps it from drawing. */
export function* partsOf({ from, to, frames, ...more }: Batch, most: number = MOST): Iterable<Batch> {
  let begin = from
  let at = 0
  for (; frames.length - at > most; at += most) {
    const part = frames.slice(at, at + most)
    const end = placeAfter(part) ?? begin
    yield { from: begin, to: end, frames: part }
    begin = end
  }
  yield { ...more, from: begin, to, frames: at === 0 ? frames : frames.slice(at) }
}

function placeAfter(frames: Batch['frames']): string | undefined {
  for (let at = frames.length - 1; at >= 0; at--) {
    const frame = frames[at]
    const place = frame?.type === 'gap' ? frame.gap.resumed : frame?.event.cursor
    if (place !== undefined) return place
  }
  return undefined
}
