import type { JSX } from 'preact'
import { useMemo } from 'preact/hooks'

/** Longer text than this is shown without colours: each token would be an element. */
const COLOURED = 60_000

const TOKEN = /("(?:\\.|[^"\\])*")(\s*:)?|\b(true|false|null)\b|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g

/** Data as indented JSON. */
export function Json({ value }: { value: unknown }): JSX.Element {
  const drawn = useMemo(() => {
    const text = JSON.stringify(value, null, 2) ?? 'null'
    return text.length > COLOURED ? text : coloured(text)
  }, [value])
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls has to be reached by keyboard.
    <pre class="json" tabIndex={0}>
      {drawn}
    </pre>
  )
}

function coloured(text: string): (string | JSX.Element)[] {
  const parts: (string | JSX.Element)[] = []
  let end = 0
  for (const match of text.matchAll(TOKEN)) {
    const [whole, string, colon, word] = match
    if (match.index > end) parts.push(text.slice(end, match.index))
    const kind = string ? (colon ? 'key' : 'string') : word ? 'word' : 'number'
    parts.push(<span class={`j-${kind}`}>{string ?? whole}</span>)
    if (colon) parts.push(colon)
    end = match.index + whole.length
  }
  parts.push(text.slice(end))
  return parts
}
