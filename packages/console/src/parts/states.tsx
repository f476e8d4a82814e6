import type { ComponentChildren, JSX } from 'preact'
import type { ApiError } from '../api.js'

/** Nothing to show yet, or nothing at all: what that means, and what to do. */
export function Empty({ title, children }: { title: string; children?: ComponentChildren }): JSX.Element {
  return (
    <div class="empty">
      <p class="empty-title">{title}</p>
      {children && <div class="soft">{children}</div>}
    </div>
  )
}

export function Loading({ what }: { what: string }): JSX.Element {
  return (
    <div class="empty" role="status">
      <p class="soft pulse">Loading {what}…</p>
    </div>
  )
}

export function Failed({ error, retry }: { error: ApiError; retry: () => void }): JSX.Element {
  return (
    <div class="notice bad" role="alert">
      <span>{error.message}</span>
      <button type="button" class="small" onClick={retry}>
        Try again
      </button>
    </div>
  )
}

/** What came of something that was done, until it is put away. */
export function Outcome({
  text,
  isBad = false,
  close,
}: {
  text: string
  isBad?: boolean
  close: () => void
}): JSX.Element {
  return (
    <div class={isBad ? 'notice bad' : 'notice'} role={isBad ? 'alert' : 'status'}>
      <span>{text}</span>
      <button type="button" class="small" onClick={close}>
        Good
      </button>
    </div>
  )
}
