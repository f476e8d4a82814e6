import type { JSX } from 'preact'
import { withQuery } from '../api.js'
import { useResource } from '../context.js'
import { clock, count, duration } from '../format.js'
import { isOver } from '../joblist.js'
import type { Job } from '../model.js'
import { Icon } from '../parts/icons.js'
import { Json } from '../parts/json.js'
import { formatRoute } from '../route.js'
import { Bar, State } from './jobs.js'

/** Items that are fetched with a result. */
const ITEMS = 20

interface Result {
  readonly result?: unknown
  readonly items: readonly unknown[]
  readonly count: number
}

/** All that is known of one job. */
export function JobDetail({ job, onClose }: { job: Job; onClose: () => void }): JSX.Element {
  // A new end or more items are another path, and so are fetched.
  const path = withQuery(`v1/jobs/${job.id}/result`, { from: 0, limit: ITEMS })
  const result = useResource<Result>(isOver(job) || job.items ? `${path}#${job.revision}-${job.items ?? 0}` : undefined)
  const items = result.value?.items ?? []
  return (
    <aside class="detail card" aria-label={`Job ${job.id}`}>
      <header>
        <h2>{job.kind}</h2>
        <State job={job} />
        <button type="button" class="plain icon-only" aria-label="Close" onClick={onClose}>
          <Icon name="close" />
        </button>
      </header>
      <Bar job={job} />
      <dl>
        <dt>Id</dt>
        <dd>
          <code>{job.id}</code>
        </dd>
        <dt>Attempt</dt>
        <dd>
          {job.attempt} of {job.attempts}
        </dd>
        {job.owner && (
          <>
            <dt>Owner</dt>
            <dd>{job.owner}</dd>
          </>
        )}
        <dt>Made</dt>
        <dd>{clock(job.created)}</dd>
        {job.started && (
          <>
            <dt>Started</dt>
            <dd>{clock(job.started)}</dd>
          </>
        )}
        {job.ended && (
          <>
            <dt>Ended</dt>
            <dd>
              {clock(job.ended)}
              {job.started ? `, after ${duration(job.ended - job.started)}` : ''}
            </dd>
          </>
        )}
      </dl>
      {job.error && (
        <div class="notice bad">
          <span>
            <b>{job.error.code}</b>: {job.error.message}
          </span>
        </div>
      )}
      <div class="buttons">
        <a class="button small" href={formatRoute('tail', { topic: `job/${job.id}` })}>
          <Icon name="tail" /> Its events
        </a>
      </div>
      {job.progress?.item !== undefined && (
        <>
          <h3>Working on</h3>
          <Json value={job.progress.item} />
        </>
      )}
      {result.error && <p class="bad-text">{result.error.message}</p>}
      {result.value?.result !== undefined && (
        <>
          <h3>Result</h3>
          <Json value={result.value.result} />
        </>
      )}
      {items.length > 0 && (
        <>
          <h3>
            Items{' '}
            <span class="soft">
              {items.length < (result.value?.count ?? 0)
                ? `${items.length} of ${count(result.value?.count ?? 0)}`
                : count(items.length)}
            </span>
          </h3>
          <Json value={items} />
        </>
      )}
    </aside>
  )
}
