import type { ComponentChildren, JSX } from 'preact'
import { useId } from 'preact/hooks'

/** A labelled input, with what helps to fill it, and what is wrong with it. */
export function Field(props: {
  label: string
  hint?: ComponentChildren
  error?: string | undefined
  children: (attributes: { id: string; 'aria-describedby': string; 'aria-invalid': boolean }) => ComponentChildren
}): JSX.Element {
  const id = useId()
  const { error, hint } = props
  return (
    <div class={`field${error ? ' wrong' : ''}`}>
      <label for={id}>{props.label}</label>
      {props.children({ id, 'aria-describedby': `${id}-about`, 'aria-invalid': Boolean(error) })}
      <div id={`${id}-about`} class="about" aria-live="polite">
        {error ? <span class="bad-text">{error}</span> : hint}
      </div>
    </div>
  )
}
