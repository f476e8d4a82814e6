import { union } from './filter.js'

/** What one pattern may take of the query on average, in characters: 200 are 6,000 of the 8,192 that most proxies take. */
const LENGTH = 30

/**
 * Fewer patterns that fit all that `topics` fit, and more: `most`, and 30 characters of the query for each. As they are where they are few
 * enough; `undefined`, which is all, where nothing less will do. Whoever listens filters anyway.
 *
 * Those that differ in their last segment become one with `*` there, then those that differ in their last two, and so on.
 */
export function widen(topics: readonly string[] | undefined, most: number): readonly string[] | undefined {
  let patterns = topics
  for (let last = 1; patterns && !fits(patterns, most); last++) patterns = merge(patterns, last)
  return patterns
}

function fits(patterns: readonly string[], most: number): boolean {
  const query = new URLSearchParams(patterns.map(pattern => ['topic', pattern]))
  return patterns.length <= most && `${query}`.length <= most * LENGTH
}

/** Puts `*` for the `last` segments of those that are the same before them. `undefined` if none has so many. */
function merge(patterns: readonly string[], last: number): readonly string[] | undefined {
  const alike = new Map<string, string[]>()
  for (const pattern of patterns) {
    const wide = without(pattern, last)
    const others = alike.get(wide)
    if (others) others.push(pattern)
    else alike.set(wide, [pattern])
  }
  const isLonger = patterns.some(pattern => fixed(pattern).length >= last)
  return isLonger ? union([...alike].map(([wide, those]) => (those.length > 1 ? [wide] : those))) : undefined
}

/** The segments before `**`. */
function fixed(pattern: string): readonly string[] {
  const segments = pattern.split('/')
  return segments.at(-1) === '**' ? segments.slice(0, -1) : segments
}

function without(pattern: string, last: number): string {
  const segments = fixed(pattern)
  const wide = segments.map((segment, at) => (at < segments.length - last ? segment : '*'))
  return [...wide, ...pattern.split('/').slice(segments.length)].join('/')
}
