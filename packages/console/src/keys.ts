import { useLayoutEffect, useRef } from 'preact/hooks'

/** What a key does. Answering `false` lets the key be. */
export type KeyMap = Readonly<Record<string, (() => unknown) | undefined>>

/** The newest is asked first: a dialog before the view, the view before the page. */
const maps: { current: KeyMap }[] = []
let prefix: { key: string; at: number } | undefined

/** How long (ms) `g` waits for its second key. */
const PATIENCE = 1_200

/** Whether keys are text here, and so no commands. */
function isTyping(target: EventTarget | null): boolean {
  if (!(target instanceof HTMLElement)) return false
  return target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName)
}

/** Whether the key already means something to what has the focus: space and Enter press a button. */
function isTaken(event: KeyboardEvent): boolean {
  if (event.key !== ' ' && event.key !== 'Enter') return false
  return event.target instanceof HTMLElement && event.target.closest('button, a, summary, label') !== null
}

export function onKey(event: KeyboardEvent): void {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return
  if (document.querySelector('dialog[open]')) return
  const typing = isTyping(event.target)
  if (typing && event.key === 'Escape') {
    ;(event.target as HTMLElement).blur()
    return
  }
  if (typing || isTaken(event)) return
  const started = prefix && event.timeStamp - prefix.at < PATIENCE ? `${prefix.key} ` : ''
  prefix = undefined
  if (event.key === 'g' && !started) {
    prefix = { key: 'g', at: event.timeStamp }
    return
  }
  const name = `${started}${event.key === ' ' ? 'space' : event.key}`
  for (const map of maps.toReversed()) {
    const run = map.current[name]
    if (run && run() !== false) {
      event.preventDefault()
      return
    }
  }
}

/** Has these keys for as long as it is drawn. */
export function useKeys(map: KeyMap): void {
  const held = useRef(map)
  held.current = map
  // With the drawing: whoever sees a view can use its keys.
  useLayoutEffect(() => {
    maps.push(held)
    return () => {
      maps.splice(maps.indexOf(held), 1)
    }
  }, [])
}
