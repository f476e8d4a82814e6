/** How far something is, from 0 to 1. */
export function Bar({ part, label }: { part: number; label: string }) {
  return <progress max={1} value={Math.min(1, Math.max(0, part))} aria-label={label} />
}
