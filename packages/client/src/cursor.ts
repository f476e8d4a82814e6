/** A cursor is `<epoch>-<offset>` (protocol §1.1). Read here for one purpose: to drop what was told before. */
const CURSOR = /^([0-9a-f]{8})-(0|[1-9]\d{0,19})$/

/** Whether `cursor` is at or before `place`. Never across epochs, and never for what is no cursor: the hub judges those. */
export function isPast(cursor: string, place: string | undefined): boolean {
  if (place === undefined) return false
  const [, epoch, offset = ''] = CURSOR.exec(cursor) ?? []
  const [, ourEpoch, ourOffset = ''] = CURSOR.exec(place) ?? []
  if (epoch === undefined || epoch !== ourEpoch) return false
  // Offsets go beyond 2^53. Without leading zeros the longer one is the greater.
  if (offset.length !== ourOffset.length) return offset.length < ourOffset.length
  return offset <= ourOffset
}

/** Whether this names a place, rather than a wish like `earliest`. */
export function isPlace(cursor: string | undefined): cursor is string {
  return cursor !== undefined && CURSOR.test(cursor)
}
