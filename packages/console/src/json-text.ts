/** JSON as somebody types it. */

/** The value, or where the text stops being JSON. */
export type Parsed = { readonly ok: true; readonly value: unknown } | { readonly ok: false; readonly message: string }

/** Nothing is no value, and no mistake. */
export function parseJson(text: string): Parsed {
  if (text.trim() === '') return { ok: true, value: undefined }
  try {
    return { ok: true, value: JSON.parse(text) }
  } catch {
    return { ok: false, message: describe(text, endOfJson(text)) }
  }
}

function describe(text: string, at: number): string {
  const before = text.slice(0, at).split('\n')
  const found = at >= text.trimEnd().length ? 'the text ends too early' : `${JSON.stringify(text[at])} is not expected`
  return `Line ${before.length}, column ${(before.at(-1)?.length ?? 0) + 1}: ${found}`
}

const SPACE = /[ \t\n\r]*/y
// biome-ignore lint/suspicious/noControlCharactersInRegex: strings may not have them (RFC 8259 §7).
const STRING = /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y
const OTHER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null/y

/**
 * The index up to which `text` is the beginning of JSON (RFC 8259).
 *
 * Engines say the place in their own words, or not at all. A stack of what is open, and not a recursion: what is pasted may be deep.
 */
export function endOfJson(text: string): number {
  const open: ('{' | '[')[] = []
  let at = 0
  const take = (pattern: RegExp): boolean => {
    pattern.lastIndex = at
    const taken = pattern.test(text)
    if (taken) at = pattern.lastIndex
    return taken
  }
  const takes = (character: string): boolean => {
    take(SPACE)
    const there = text[at] === character
    if (there) at++
    return there
  }
  /** A member's name and colon, where one is due. */
  const named = (): boolean => {
    if (open.at(-1) !== '{') return true
    take(SPACE)
    return take(STRING) && takes(':')
  }

  for (;;) {
    take(SPACE)
    if (takes('{')) {
      if (!takes('}')) {
        open.push('{')
        if (!named()) return at
        continue
      }
    } else if (takes('[')) {
      if (!takes(']')) {
        open.push('[')
        continue
      }
    } else if (!take(STRING) && !take(OTHER)) return at
    // What is open goes on after a comma, or ends.
    for (;;) {
      const inside = open.at(-1)
      if (inside === undefined) {
        take(SPACE)
        return at
      }
      if (takes(',')) {
        if (!named()) return at
        break
      }
      if (!takes(inside === '{' ? '}' : ']')) return at
      open.pop()
    }
  }
}

/** What engines have that know the text of a number (ECMA-262, JSON.parse source text access); TypeScript does not know it yet. */
const { rawJSON } = JSON as typeof JSON & { rawJSON?: (text: string) => unknown }

/** A text without any of these has no number that is rounded by being read. */
const LONG = /\d{16}|[eE]\+?\d/

/** The value, with numbers that no number of the page can hold as they are written, where the engine can: they come out of `JSON.stringify` unchanged. */
export function parseExact(text: string): unknown {
  if (!rawJSON || !LONG.test(text)) return JSON.parse(text)
  const keep = (_: string, value: unknown, context?: { readonly source: string }) =>
    context && isRoundedNumber(value) ? rawJSON(context.source) : value
  return JSON.parse(text, keep)
}

/** Whether a number somewhere in it may be another one than was written: one of 2^53 and above. */
export function isRounded(value: unknown): boolean {
  const open = [value]
  while (open.length > 0) {
    const next = open.pop()
    if (isRoundedNumber(next)) return true
    if (typeof next === 'object' && next !== null) for (const inner of Object.values(next)) open.push(inner)
  }
  return false
}

function isRoundedNumber(value: unknown): boolean {
  return (
    typeof value === 'number' && !Number.isSafeInteger(value) && (Number.isInteger(value) || !Number.isFinite(value))
  )
}

const PART = /"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g

/**
 * JSON in other lines: `indent` before each, or all in one where that is empty. Each string and number stays as it is written.
 *
 * `text` is known to be JSON.
 */
export function rewrap(text: string, indent: string): string {
  const parts = text.match(PART) ?? []
  const line = (depth: number) => (indent ? `\n${indent.repeat(depth)}` : '')
  let depth = 0
  let wrapped = ''
  parts.forEach((part, index) => {
    const opened = parts[index - 1] === '{' || parts[index - 1] === '['
    if (part === '}' || part === ']') {
      depth--
      wrapped += opened ? part : line(depth) + part
    } else if (part === ',') wrapped += part
    else if (part === ':') wrapped += indent ? ': ' : ':'
    else {
      if (opened || parts[index - 1] === ',') wrapped += line(depth)
      wrapped += part
      if (part === '{' || part === '[') depth++
    }
  })
  return wrapped
}
