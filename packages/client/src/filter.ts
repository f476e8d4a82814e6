/** Topics and their patterns, as protocol §1.2 has them: `*` is one whole segment, `**` at the end is one or more. */

/** The most patterns that are asked for by name; more are widened. A hub takes 256. */
export const MOST = 200

/** Whether a topic fits a pattern. */
export function matches(pattern: string, topic: string): boolean {
  return covers(pattern, topic)
}

/** Whether everything that fits `inner`, a topic or a pattern, fits `outer` too. */
export function covers(outer: string, inner: string): boolean {
  if (outer === inner) return true
  // What is said before the first `*` is cheap to compare, and differs mostly.
  if (!inner.startsWith(outer.slice(0, outer.indexOf('*')))) return false
  const wide = outer.split('/')
  const narrow = inner.split('/')
  const open = wide.at(-1) === '**'
  if (open) wide.pop()
  else if (narrow.at(-1) === '**') return false
  if (open ? narrow.length <= wide.length : narrow.length !== wide.length) return false
  // `**` of the inner one stands for one segment at least, and its place is beyond the fixed part of the outer one.
  return wide.every((segment, at) => segment === '*' || segment === narrow[at])
}

/** Whether a topic fits any of the patterns; `undefined` is all. An empty topic is one that was not told, and fits. */
export function wants(patterns: readonly string[] | undefined, topic: string): boolean {
  return patterns === undefined || topic === '' || patterns.some(pattern => matches(pattern, topic))
}

/** Whether everything that `inner` asks for comes with what `outer` asks for. */
export function coversAll(outer: readonly string[] | undefined, inner: readonly string[] | undefined): boolean {
  if (outer === undefined) return true
  const same = new Set(outer)
  const wide = outer.filter(isWide)
  return inner?.every(pattern => same.has(pattern) || wide.some(other => covers(other, pattern))) ?? false
}

/** All that is wanted by anybody, sorted, without what another pattern covers. `undefined` is all. */
export function union(wanted: Iterable<readonly string[] | undefined>): readonly string[] | undefined {
  const patterns = new Set<string>()
  for (const topics of wanted) {
    if (topics === undefined) return undefined
    for (const topic of topics) patterns.add(topic)
  }
  const all = [...patterns]
  const wide = all.filter(isWide)
  return all.filter(pattern => !wide.some(other => other !== pattern && covers(other, pattern))).sort()
}

/** Whether it can cover anything but itself. */
function isWide(pattern: string): boolean {
  return pattern.includes('*')
}
