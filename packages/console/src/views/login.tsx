import type { JSX } from 'preact'
import { useState } from 'preact/hooks'
import { Field } from '../parts/field.js'

/** Asks for an operator's key. */
export function Login(props: { why: string | undefined; busy: boolean; onKey: (key: string) => void }): JSX.Element {
  const [key, setKey] = useState('')
  const submit = (event: Event) => {
    event.preventDefault()
    if (key.trim()) props.onKey(key.trim())
  }
  return (
    <main class="login">
      <form class="card form" onSubmit={submit}>
        <h1>Tidings console</h1>
        <p class="soft">The console is for operators. Make a key on the machine of the hub, beside its data:</p>
        <pre>tidings key create --name console --operator --publish --grant '**'</pre>
        <Field
          label="Operator key"
          error={props.why}
          hint="Kept for this tab, and forgotten when you log out or close it."
        >
          {attributes => (
            <input
              {...attributes}
              type="password"
              class="mono"
              value={key}
              autocomplete="current-password"
              autofocus
              required
              placeholder="tdg_…"
              onInput={event => setKey(event.currentTarget.value)}
            />
          )}
        </Field>
        <footer>
          <button type="submit" class="primary" disabled={props.busy}>
            {props.busy ? 'Asking…' : 'Log in'}
          </button>
        </footer>
      </form>
    </main>
  )
}
