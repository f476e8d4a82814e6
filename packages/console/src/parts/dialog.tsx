import type { ComponentChildren, JSX } from 'preact'
import { useEffect, useRef } from 'preact/hooks'
import { Icon } from './icons.js'

/** A modal dialog, open for as long as it is drawn. Escape and a click beside it close it. */
export function Dialog(props: {
  title: string
  onClose: () => void
  wide?: boolean
  children: ComponentChildren
}): JSX.Element {
  const dialog = useRef<HTMLDialogElement>(null)
  useEffect(() => {
    const element = dialog.current
    element?.showModal()
    return () => element?.close()
  }, [])
  return (
    // biome-ignore lint/a11y/useKeyWithClickEvents: Escape closes a dialog by itself.
    <dialog
      ref={dialog}
      class={props.wide ? 'wide' : ''}
      aria-label={props.title}
      onCancel={event => {
        event.preventDefault()
        props.onClose()
      }}
      onClick={event => event.target === dialog.current && props.onClose()}
    >
      <header>
        <h2>{props.title}</h2>
        <button type="button" class="plain icon-only" aria-label="Close" onClick={props.onClose}>
          <Icon name="close" />
        </button>
      </header>
      {props.children}
    </dialog>
  )
}

/** Asks before something that can't be undone. */
export function Confirm(props: {
  title: string
  action: string
  onConfirm: () => void
  onClose: () => void
  children: ComponentChildren
}): JSX.Element {
  return (
    <Dialog title={props.title} onClose={props.onClose}>
      <div class="dialog-body">{props.children}</div>
      <footer>
        <button type="button" onClick={props.onClose}>
          Keep it
        </button>
        <button
          type="button"
          class="danger"
          onClick={() => {
            props.onConfirm()
            props.onClose()
          }}
        >
          {props.action}
        </button>
      </footer>
    </Dialog>
  )
}
