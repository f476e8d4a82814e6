import type { JSX } from 'preact'
import { useMemo, useRef, useState } from 'preact/hooks'
import { ApiError, withQuery } from '../api.js'
import { route, useHub, useResource } from '../context.js'
import { readGrants } from '../grants.js'
import { parseJson, rewrap } from '../json-text.js'
import { useKeys } from '../keys.js'
import type { ProfileEvent, ProfileInfo } from '../model.js'
import { Copy } from '../parts/copy.js'
import { Field } from '../parts/field.js'
import { Icon } from '../parts/icons.js'
import { profileToName } from '../profiles.js'
import { formatRoute } from '../route.js'
import { example, members } from '../schema.js'
import { useStore } from '../store.js'

interface Form {
  readonly profile: string
  readonly name: string
  readonly topic: string
  readonly audience: string
  readonly key: string
  readonly scope: string
  readonly data: string
  readonly signal: boolean
  /** It is one that was published before, and not who may see it is known. */
  readonly unknownAudience: boolean
}

interface Taken {
  readonly name: string
  readonly cursor?: string
  readonly coalesced?: boolean
}

/** Says that something happened. */
export function PublishView(): JSX.Element {
  const hub = useHub()
  const { query } = useStore(route)
  const profiles = useResource<{ profiles: ProfileInfo[] }>('v1/profiles').value?.profiles ?? []
  const [form, setForm] = useState<Form>(() => begin(query))
  const [error, setError] = useState<ApiError | undefined>()
  const [taken, setTaken] = useState<readonly Taken[]>([])
  const [busy, setBusy] = useState(false)
  const data = useMemo(() => parseJson(form.data), [form.data])
  const scope = useMemo(() => parseJson(form.scope), [form.scope])
  const first = useRef<HTMLInputElement>(null)
  const submit = useRef<HTMLFormElement>(null)
  useKeys({ '/': () => first.current?.focus() })

  const change = (part: Partial<Form>) => {
    setForm(was => ({ ...was, ...part }))
    setError(undefined)
  }
  const profile = profiles.find(({ name }) => name === form.profile) ?? profiles[0]
  const kind = profile?.events.find(({ name }) => name === form.name && name !== '*')
  const about = members(kind?.schema)
  const named = profileToName(form.profile, profiles)
  const publish = async (event: Event) => {
    event.preventDefault()
    if (busy || !data.ok || !scope.ok) return
    setBusy(true)
    setError(undefined)
    try {
      const answer = await hub.ask<{ results: Omit<Taken, 'name'>[] }>(withQuery('v1/publish', { profile: named }), {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: draft(form),
      })
      const results = answer.results.map(result => ({ ...result, name: form.name }))
      setTaken(was => [...results, ...was].slice(0, 8))
    } catch (failure) {
      const said = failure instanceof ApiError ? failure : new ApiError(0, String(failure))
      setError(said)
      // The profile says it then, and wants it left out.
      if (fieldOf(said) === 'audience' && said.problem?.type?.endsWith(':not-allowed'))
        setForm(was => ({ ...was, unknownAudience: false }))
    } finally {
      setBusy(false)
    }
  }
  const field = fieldOf(error)
  const isWhole = data.ok && scope.ok
  const command = isWhole ? shell(draft(form), !hub.who.dev, named) : undefined
  const wrong = (name: string) => (field === name ? error?.message.replace(/^event 0: /, '') : undefined)
  const text = (name: 'name' | 'topic' | 'audience' | 'key', label: string, hint: string, required = false) => (
    <Field label={label} hint={hint} error={wrong(name)}>
      {attributes => (
        <input
          {...attributes}
          type="text"
          {...(name === 'name' && { ref: first, list: 'event-names' })}
          class="mono"
          value={form[name]}
          required={required}
          spellcheck={false}
          autocomplete="off"
          onInput={event => change({ [name]: event.currentTarget.value })}
        />
      )}
    </Field>
  )

  return (
    <div class="view">
      <div class="publish">
        <form
          ref={submit}
          class="card form"
          onSubmit={publish}
          onKeyDown={event => {
            if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) submit.current?.requestSubmit()
          }}
        >
          <div class="pair">
            {profiles.length > 1 && (
              <Field label="Profile" hint={profile?.description ?? ''}>
                {attributes => (
                  <select
                    {...attributes}
                    value={form.profile}
                    onChange={e => change({ profile: e.currentTarget.value })}
                  >
                    {profiles.map(({ name }) => (
                      <option key={name}>{name}</option>
                    ))}
                  </select>
                )}
              </Field>
            )}
            {text('name', 'Event', kind ? described(kind) : 'What happened, as in book.updated', true)}
            <datalist id="event-names">
              {profile?.events
                .filter(({ name }) => name !== '*')
                .map(({ name }) => (
                  <option key={name} value={name} />
                ))}
            </datalist>
          </div>
          <div class="pair">
            {text(
              'topic',
              'Topic',
              kind?.topic ? `The profile says it: ${kind.topic}` : 'What it is about, as in book/42',
            )}
            {text(
              'audience',
              'Audience',
              form.unknownAudience
                ? 'Who could see it is not known here: say who may, as in role/viewer, or everyone'
                : said(kind)
                  ? `The profile says it: ${said(kind)}`
                  : 'Grants, separated by commas. Empty is the default',
              form.unknownAudience,
            )}
          </div>
          {query.again && (
            <div class="notice">
              <span>
                As it was published before.
                {query.again === 'rounded' && ' Numbers of 2^53 and above were rounded by this page: correct them.'}
              </span>
            </div>
          )}
          <Field label="Data" hint="Any JSON. Ctrl+Enter publishes." error={data.ok ? wrong('data') : data.message}>
            {attributes => (
              <textarea
                {...attributes}
                class="mono code"
                rows={10}
                value={form.data}
                spellcheck={false}
                onInput={event => change({ data: event.currentTarget.value })}
              />
            )}
          </Field>
          <div class="buttons">
            <button
              type="button"
              class="small"
              disabled={!data.ok}
              onClick={() => change({ data: rewrap(form.data, '  ') })}
            >
              Tidy up
            </button>
            {Boolean(kind?.schema) && (
              <button
                type="button"
                class="small"
                onClick={() => change({ data: JSON.stringify(example(kind?.schema), null, 2) })}
              >
                Fill in an example
              </button>
            )}
          </div>
          <details open={form.key !== '' || form.scope !== '' || form.signal || field === 'scope' || field === 'key'}>
            <summary>Key, scope, signal</summary>
            <div class="pair">
              {text('key', 'Key', 'What it replaces, for signals and kinds that coalesce')}
              <Field
                label="Scope"
                hint="Facts that decide the audience, as a JSON object"
                error={scope.ok ? wrong('scope') : scope.message}
              >
                {attributes => (
                  <input
                    {...attributes}
                    class="mono"
                    value={form.scope}
                    spellcheck={false}
                    onInput={e => change({ scope: e.currentTarget.value })}
                  />
                )}
              </Field>
            </div>
            <label class="check">
              <input
                type="checkbox"
                checked={form.signal}
                onChange={event => change({ signal: event.currentTarget.checked })}
              />
              A signal: it is not kept, and has no cursor
            </label>
          </details>
          {error && !field && (
            <div class="notice bad" role="alert">
              <span>{error.message}</span>
            </div>
          )}
          <footer>
            <button type="submit" class="primary" disabled={busy || !data.ok || !scope.ok}>
              <Icon name="publish" /> {busy ? 'Publishing…' : 'Publish'}
            </button>
            <span class="soft">{hub.who.publishes ? '' : 'This key may not publish everything.'}</span>
          </footer>
        </form>
        <div class="beside">
          {about.length > 0 && (
            <section class="card">
              <h2>{form.name}</h2>
              <dl class="members">
                {about.map(member => (
                  <div key={member.name}>
                    <dt>
                      <code>{member.name}</code>
                      {member.required && <span class="tag">needed</span>}
                    </dt>
                    <dd>
                      <code class="soft">{member.type}</code> {member.description}
                    </dd>
                  </div>
                ))}
              </dl>
            </section>
          )}
          <section class="card">
            <h2>The same from a shell</h2>
            {command === undefined ? (
              <p class="soft">It stands here once the form is JSON.</p>
            ) : (
              <>
                <pre>{command}</pre>
                <div class="buttons">
                  <Copy label="Copy" text={() => command} />
                </div>
              </>
            )}
          </section>
          <section class="card" aria-live="polite">
            <h2>Published</h2>
            {taken.length === 0 && <p class="soft">When the hub has made it durable, its cursor stands here.</p>}
            <ul class="results">
              {taken.map((result, index) => (
                <li key={result.cursor ?? `${result.name}${index}`}>
                  <b>{result.name}</b>{' '}
                  {result.cursor ? (
                    <code>{result.cursor}</code>
                  ) : (
                    <span class="soft">{result.coalesced ? 'a newer one took its place' : 'a signal, not kept'}</span>
                  )}
                  {result.cursor && (
                    <span class="buttons">
                      <Copy label="Copy" text={() => result.cursor ?? ''} />
                      <a class="button small" href={formatRoute('explain', { cursor: result.cursor })}>
                        Explain
                      </a>
                    </span>
                  )}
                </li>
              ))}
            </ul>
          </section>
        </div>
      </div>
    </div>
  )
}

function begin(query: Readonly<Record<string, string>>): Form {
  const data = query.data ?? '{\n  "text": "hi"\n}'
  return {
    profile: query.profile ?? 'default',
    name: query.name ?? 'greeting',
    topic: query.topic ?? (query.name ? '' : 'hello/world'),
    audience: query.audience ?? '',
    key: query.key ?? '',
    scope: query.scope ?? '',
    data: parseJson(data).ok ? rewrap(data, '  ') : data,
    signal: false,
    unknownAudience: query.again !== undefined && !query.audience,
  }
}

/**
 * The event as protocol §7.1 wants it, as JSON: members that say nothing are left out, and data and scope are what was typed. Parsed and
 * written anew they would have other numbers, from 2^53 on.
 */
function draft(form: Form): string {
  const { name, topic, key, data, scope, signal } = form
  const audience = readGrants(form.audience)
  const member = (name: string, json: string) => `,"${name}":${json}`
  return [
    `{"name":${JSON.stringify(name)}`,
    data.trim() && member('data', rewrap(data, '')),
    topic && member('topic', JSON.stringify(topic)),
    audience.length > 0 && member('audience', JSON.stringify(audience)),
    key && member('key', JSON.stringify(key)),
    scope.trim() && member('scope', rewrap(scope, '')),
    signal && member('signal', 'true'),
    '}',
  ]
    .filter(Boolean)
    .join('')
}

/** A command that publishes the same. */
function shell(event: string, needsKey: boolean, profile: string | undefined): string {
  const query = profile === undefined ? '' : `?profile=${profile}`
  const json = event.replaceAll("'", "'\\''")
  const key = needsKey ? ' -H "Authorization: Bearer $KEY"' : ''
  return `curl${key} --json '${json}' '${location.origin}/v1/publish${query}'`
}

/** Which input a refusal is about: `data/size` and `data.size` are the data's. */
function fieldOf(error: ApiError | undefined): string | undefined {
  const { field } = error?.problem ?? {}
  const name = typeof field === 'string' ? field.replace(/^[/$.]+/, '').split(/[./[]/)[0] : undefined
  return name && ['name', 'topic', 'audience', 'key', 'scope', 'data'].includes(name) ? name : undefined
}

function said(kind: ProfileEvent | undefined): string {
  return (kind?.audience ?? []).map(rule => rule.join(' or ')).join(', else ')
}

function described(kind: ProfileEvent): string {
  return kind.kept
    ? kind.retained
      ? 'Kept, and the newest is told to whoever comes'
      : 'Kept in the log'
    : 'A signal: not kept'
}
