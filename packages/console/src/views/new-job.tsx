import type { JSX } from 'preact'
import { useState } from 'preact/hooks'
import { ApiError, withQuery } from '../api.js'
import { say, useHub } from '../context.js'
import { parseJson } from '../json-text.js'
import type { Job } from '../model.js'
import { Dialog } from '../parts/dialog.js'
import { Field } from '../parts/field.js'

/** A form that makes a job, of a file or of input. */
export function NewJob(props: { onClose: () => void; onMade: (job: Job) => void }): JSX.Element {
  const hub = useHub()
  const { profiles } = hub.who
  // With one profile alone, that is the one where none is said.
  const [profile, setProfile] = useState(profiles.length > 0 ? 'default' : undefined)
  const [kind, setKind] = useState('import')
  const [input, setInput] = useState('')
  const [file, setFile] = useState<File | undefined>()
  const [error, setError] = useState<ApiError | undefined>()
  const [busy, setBusy] = useState(false)
  const parsed = parseJson(input)

  const make = async (event: Event) => {
    event.preventDefault()
    if (!parsed.ok || busy) return
    setBusy(true)
    const about = JSON.stringify({ kind, input: parsed.value })
    try {
      const job = await hub.ask<Job>(withQuery('v1/jobs', { profile }), { method: 'POST', ...body(about, file) })
      props.onMade(job)
      props.onClose()
      say('jobs', { job: job.id })
    } catch (failure) {
      setError(failure instanceof ApiError ? failure : new ApiError(0, String(failure)))
      setBusy(false)
    }
  }
  const wrong = (field: string) => (error?.problem?.field === field ? error.message : undefined)
  return (
    <Dialog title="New job" onClose={props.onClose}>
      <form class="dialog-body" onSubmit={make}>
        {profiles.length > 0 && (
          <Field label="Profile" hint="Its rules say who hears of the job.">
            {attributes => (
              <select {...attributes} value={profile} onChange={e => setProfile(e.currentTarget.value)}>
                {['default', ...profiles].map(name => (
                  <option key={name}>{name}</option>
                ))}
              </select>
            )}
          </Field>
        )}
        <Field label="Kind" hint="Workers claim jobs by their kind." error={wrong('kind')}>
          {attributes => (
            <input
              {...attributes}
              value={kind}
              required
              maxLength={64}
              spellcheck={false}
              onInput={e => setKind(e.currentTarget.value)}
            />
          )}
        </Field>
        <Field
          label="File"
          hint="Sent to the hub, and from there to the worker. May be left out."
          error={wrong('file')}
        >
          {attributes => <input {...attributes} type="file" onChange={e => setFile(e.currentTarget.files?.[0])} />}
        </Field>
        <Field
          label="Input"
          hint="JSON for the worker. May be left out."
          error={parsed.ok ? wrong('input') : parsed.message}
        >
          {attributes => (
            <textarea
              {...attributes}
              class="mono"
              rows={4}
              value={input}
              spellcheck={false}
              onInput={e => setInput(e.currentTarget.value)}
            />
          )}
        </Field>
        {error && typeof error.problem?.field !== 'string' && (
          <div class="notice bad" role="alert">
            <span>{error.message}</span>
          </div>
        )}
        <footer>
          <button type="button" onClick={props.onClose}>
            Not now
          </button>
          <button type="submit" class="primary" disabled={busy || !parsed.ok}>
            {busy ? 'Sending…' : 'Make the job'}
          </button>
        </footer>
      </form>
    </Dialog>
  )
}

function body(about: string, file: File | undefined): RequestInit {
  if (!file) return { body: about, headers: { 'content-type': 'application/json' } }
  const form = new FormData()
  // Before the file: the hub reads parts in their order.
  form.set('job', about)
  form.set('file', file)
  return { body: form }
}
