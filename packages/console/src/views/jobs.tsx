import type { JSX } from 'preact'
import { useEffect, useRef, useState } from 'preact/hooks'
import { withQuery } from '../api.js'
import { route, say, useHub, useNow, useResource } from '../context.js'
import { ago, count, duration } from '../format.js'
import { type Extent, fraction, further, isOlder, isOver, newestFirst, withJob } from '../joblist.js'
import { useKeys } from '../keys.js'
import type { Job } from '../model.js'
import { Confirm } from '../parts/dialog.js'
import { Icon } from '../parts/icons.js'
import { Empty, Failed, Loading, Outcome } from '../parts/states.js'
import { type Column, Table } from '../parts/table.js'
import { useStore } from '../store.js'
import { JobDetail } from './job-detail.js'
import { NewJob } from './new-job.js'

const STATES = ['queued', 'running', 'completed', 'failed', 'canceled', 'lost'] as const
const PAGE = 100

interface Page {
  readonly jobs: readonly Job[]
  readonly before?: string
}

/** Long work: how far it is, and what came of it. */
export function JobsView(): JSX.Element {
  const hub = useHub()
  const { query } = useStore(route)
  const now = useNow()
  const [known, setKnown] = useState<ReadonlyMap<string, Job>>(new Map())
  const [making, setMaking] = useState(false)
  const [asked, setAsked] = useState<Job | undefined>()
  const [failure, setFailure] = useState<string | undefined>()
  const filter = useRef<HTMLInputElement>(null)
  const { state } = query
  const list = useResource<Page>(withQuery('v1/jobs', { state, limit: PAGE }))
  /** How far back the list has been read. */
  const [extent, setExtent] = useState<Extent | undefined>()
  const [looking, setLooking] = useState(false)
  useKeys({ '/': () => filter.current?.focus(), n: () => setMaking(true) })

  // Heard before the list is asked for, and merged by revision: what changes in between is in both, and the newer counts.
  useEffect(() => hub.onJob(job => setKnown(jobs => withJob(jobs, job))), [hub])
  const { value } = list
  useEffect(() => {
    if (!value) return
    setKnown(jobs => value.jobs.reduce(withJob, jobs))
    // Fetched anew after a break, what was read further back is still there.
    setExtent(was => (was && was.state === state ? was : further(value, state)))
  }, [value])
  const older = async () => {
    if (!extent?.before || looking) return
    setLooking(true)
    try {
      const page = await hub.ask<Page>(withQuery('v1/jobs', { state, limit: PAGE, before: extent.before }))
      setKnown(jobs => page.jobs.reduce(withJob, jobs))
      setExtent(was => (was === extent ? further(page, state, extent) : was))
      setFailure(undefined)
    } catch (error) {
      setFailure(`Older jobs can't be shown: ${error instanceof Error ? error.message : error}`)
    } finally {
      setLooking(false)
    }
  }

  const cancel = async (job: Job) => {
    try {
      const answer = await hub.ask<Job>(`v1/jobs/${job.id}`, { method: 'DELETE' })
      setKnown(jobs => withJob(jobs, answer))
      setFailure(undefined)
    } catch (error) {
      setFailure(`${job.id} was not canceled: ${error instanceof Error ? error.message : error}`)
    }
  }
  const wanted = (query.find ?? '').trim().toLowerCase()
  const fits = (job: Job) =>
    (!state || job.state === state) &&
    (wanted === '' ||
      `${job.id} ${job.kind} ${job.owner ?? ''} ${job.progress?.message ?? ''}`.toLowerCase().includes(wanted))
  // Of what is further back, some are known as they changed, or were asked for: among the others they would hide that there are more.
  const read = newestFirst(known.values()).filter(job => !extent?.last || !isOlder(job, extent.last))
  const rows = read.filter(fits)
  const more = Boolean(extent?.before)
  const opened = query.job ? known.get(query.job) : undefined
  // A link may be to one that is further back.
  const linked = useResource<Job>(
    value && query.job && !opened ? `v1/jobs/${encodeURIComponent(query.job)}` : undefined,
  )
  useEffect(() => {
    const job = linked.value
    if (job) setKnown(jobs => withJob(jobs, job))
  }, [linked.value])
  const open = (job: Job | undefined) => say('jobs', { ...query, job: job?.id })

  const columns: Column<Job>[] = [
    { id: 'state', title: 'State', cell: job => <State job={job} /> },
    {
      id: 'job',
      title: 'Job',
      cell: job => (
        <span class="two">
          <b>{job.kind}</b> <code>{job.id}</code>
        </span>
      ),
    },
    { id: 'bar', title: 'Progress', cell: job => <Bar job={job} />, wide: true },
    { id: 'attempt', title: 'Attempt', cell: job => `${job.attempt} of ${job.attempts}`, number: true, minor: true },
    { id: 'owner', title: 'Owner', cell: job => job.owner ?? '', minor: true },
    { id: 'age', title: 'Made', cell: job => ago(job.created, now), number: true, minor: true },
    {
      id: 'end',
      title: '',
      cell: job =>
        isOver(job) ? (
          <span class="soft">{job.ended && job.started ? duration(job.ended - job.started) : ''}</span>
        ) : (
          <button
            type="button"
            class="small danger-text"
            disabled={job.canceling === true}
            aria-label={`Cancel ${job.kind} ${job.id}`}
            onClick={event => {
              event.stopPropagation()
              setAsked(job)
            }}
          >
            {job.canceling ? 'Canceling' : 'Cancel'}
          </button>
        ),
    },
  ]
  return (
    <div class="view fill">
      <search class="toolbar">
        <input
          ref={filter}
          value={query.find ?? ''}
          placeholder="Kind, id, owner…"
          aria-label="Filter jobs"
          spellcheck={false}
          onInput={event => say('jobs', { ...query, find: event.currentTarget.value })}
        />
        <select
          aria-label="State"
          value={state ?? ''}
          onChange={event => say('jobs', { ...query, state: event.currentTarget.value })}
        >
          <option value="">every state</option>
          {STATES.map(name => (
            <option key={name}>{name}</option>
          ))}
        </select>
        <button type="button" class="primary" onClick={() => setMaking(true)} title="n">
          New job
        </button>
        {more && (
          <button type="button" onClick={older} disabled={looking}>
            Older
          </button>
        )}
        <output class="soft tally">
          {tally(rows.length, read.filter(job => !state || job.state === state).length, more)}
        </output>
      </search>
      {failure && <Outcome text={failure} isBad close={() => setFailure(undefined)} />}
      {list.error && <Failed error={list.error} retry={list.reload} />}
      {linked.error && (
        <Outcome text={`${query.job} can't be shown: ${linked.error.message}`} isBad close={() => open(undefined)} />
      )}
      {!list.value && !list.error && <Loading what="jobs" />}
      {list.value && (
        <div class={`split${opened ? ' open' : ''}`}>
          <Table
            label="Jobs"
            columns={columns}
            rows={rows}
            rowKey={job => job.id}
            onOpen={job => open(job.id === opened?.id ? undefined : job)}
            opened={opened?.id}
            empty={
              more ? (
                <Empty title="None so far">
                  <p>There are older jobs.</p>
                  <button type="button" onClick={older} disabled={looking}>
                    Look further back
                  </button>
                </Empty>
              ) : known.size && (wanted || state) ? (
                <Empty title="No job fits" />
              ) : (
                <Empty title="No jobs">
                  <p>A job is long work that a worker does and somebody watches. Make one here, or:</p>
                  <pre>tidings job create import --file books.csv --watch</pre>
                  <button type="button" class="primary" onClick={() => setMaking(true)}>
                    <Icon name="jobs" /> New job
                  </button>
                </Empty>
              )
            }
          />
          {opened && <JobDetail job={opened} onClose={() => open(undefined)} />}
        </div>
      )}
      {making && <NewJob onClose={() => setMaking(false)} onMade={job => setKnown(jobs => withJob(jobs, job))} />}
      {asked && (
        <Confirm
          title="Cancel this job?"
          action="Cancel the job"
          onConfirm={() => cancel(asked)}
          onClose={() => setAsked(undefined)}
        >
          <p>
            {asked.kind} <code>{asked.id}</code> is {asked.state}.{' '}
            {asked.state === 'running'
              ? 'Its worker is told, and the job ends when it has answered, or after 30 s.'
              : 'It ends at once.'}
          </p>
        </Confirm>
      )}
    </div>
  )
}

/** What is shown of how many: the list begins with the newest, and the filter is applied to what was read of it. */
function tally(shown: number, read: number, more: boolean): string {
  if (!more) return shown === read ? `${count(read)} jobs` : `${count(shown)} of ${count(read)} jobs`
  return shown === read ? `${count(read)} newest` : `${count(shown)} of the ${count(read)} newest`
}

export function State({ job }: { job: Job }): JSX.Element {
  return <span class={`tag state-${job.state}`}>{job.canceling && !isOver(job) ? 'canceling' : job.state}</span>
}

export function Bar({ job }: { job: Job }): JSX.Element {
  const part = fraction(job)
  const { progress, error } = job
  const numbers = progress
    ? `${count(progress.done)}${progress.total === undefined ? '' : ` of ${count(progress.total)}`}`
    : ''
  const text = error?.message ?? progress?.message ?? ''
  return (
    <div class="job-bar">
      <div
        class={`track state-${job.state}${part === undefined && job.state === 'running' ? ' unknown' : ''}`}
        role="progressbar"
        aria-label={`${job.kind} ${job.id}`}
        aria-valuemin={0}
        aria-valuemax={100}
        aria-valuenow={part === undefined ? undefined : Math.round(part * 100)}
      >
        {part === undefined ? <i /> : <i style={{ width: `${part * 100}%` }} />}
      </div>
      <span class="job-text">
        <span>{numbers}</span>
        <span class={error ? 'bad-text' : 'soft'}>{text}</span>
      </span>
    </div>
  )
}
