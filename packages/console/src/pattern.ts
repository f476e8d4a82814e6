/** Whether `topic` is covered by `pattern`: `*` for one whole segment, `**` at the end for one or more (protocol §1.2). */
export function covers(pattern: string, topic: string): boolean {
  const wanted = pattern.split('/')
  const segments = topic.split('/')
  const rest = wanted.at(-1) === '**'
  if (rest ? segments.length < wanted.length : segments.length !== wanted.length) return false
  const named = rest ? wanted.slice(0, -1) : wanted
  return named.every((part, index) => part === '*' || part === segments[index])
}

/** What somebody types to find a topic: a pattern if it has a star, else a part of the path. */
export function topicTest(text: string): (topic: string) => boolean {
  const wanted = text.trim()
  if (wanted === '') return () => true
  if (wanted.includes('*')) return topic => covers(wanted, topic)
  const part = wanted.toLowerCase()
  return topic => topic.toLowerCase().includes(part)
}
