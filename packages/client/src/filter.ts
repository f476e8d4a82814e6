/** Topics and their patterns, as protocol §1.2 has them: `*` is one whole segment, `**` at the end is one or more. */

/** Whether a topic fits a pattern. */
export function matches(pattern: string, topic: string): boolean {
  return covers(pattern, topic)
}

/** Whether everything that fits `inner`, a topic or a pattern, fits `outer` too. */
export function covers(outer: string, inner: string): boolean {
  if (outer === inner) return true
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
  return inner?.every(pattern => outer.some(other => covers(other, pattern))) ?? false
}

/** All that is wanted by anybody, sorted, without what another pattern covers. `undefined` is all. */
export function union(wanted: Iterable<readonly string[] | undefined>): readonly string[] | undefined {
  const patterns = new Set<string>()
  for (const topics of wanted) {
    if (topics === undefined) return undefined
    for (const topic of topics) patterns.add(topic)
  }
  const all = [...patterns]
  return all.filter(pattern => !all.some(other => other !== pattern && covers(other, pattern))).sort()
}
