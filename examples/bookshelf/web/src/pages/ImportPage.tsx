import { useMutation } from '@tanstack/react-query'
import { type DragEvent, useState } from 'react'
import { api } from '../api.js'
import { useJob } from '../live.js'
import { Bar } from '../parts/Bar.js'
import { Heading } from '../parts/Heading.js'

interface Summary {
  readonly added: number
  readonly known: number
  readonly failed: number
  readonly errors: readonly { readonly row: number; readonly message: string }[]
}

export function ImportPage() {
  const [jobId, setJobId] = useState<string>()
  const [over, setOver] = useState(false)
  const start = useMutation({
    mutationFn: (file: File) => {
      const form = new FormData()
      form.set('file', file)
      return api.post<{ job: string }>('imports', form)
    },
    onSuccess: ({ job }) => setJobId(job),
  })
  const drop = (event: DragEvent) => {
    event.preventDefault()
    setOver(false)
    const file = event.dataTransfer.files[0]
    if (file) start.mutate(file)
  }
  return (
    <>
      <div className="head">
        <Heading>Import</Heading>
      </div>
      {/* biome-ignore lint/a11y/noStaticElementInteractions: the file input in it does the same by keyboard */}
      <div
        className={over ? 'drop over' : 'drop'}
        onDragOver={event => {
          event.preventDefault()
          setOver(true)
        }}
        onDragLeave={() => setOver(false)}
        onDrop={drop}
      >
        <p>
          Drop a list of books here: an export of Goodreads, StoryGraph or LibraryThing, or any .csv with a title
          column.
        </p>
        <input
          type="file"
          accept=".csv,.tsv,text/csv"
          aria-label="List of books"
          onChange={event => {
            const file = event.target.files?.[0]
            if (file) start.mutate(file)
            event.target.value = ''
          }}
        />
      </div>
      {start.error && (
        <p role="alert" className="alert">
          {start.error.message}
        </p>
      )}
      {jobId !== undefined && <Import key={jobId} id={jobId} />}
    </>
  )
}

/** How the import is, and how it ended; also for who comes back to it. */
function Import({ id }: { id: string }) {
  const { job, state, progress, error, cancel, canceling } = useJob(id)
  const result = job?.result as Summary | undefined
  const running = state === 'queued' || state === 'running'
  return (
    <section className="import" data-state={state}>
      <h2 aria-live="polite">
        {state ?? 'starting'}
        {canceling && running && ', canceling…'}
      </h2>
      {running && (
        <p className="running">
          <Bar part={progress ?? 0} label="Rows imported" /> {job?.progress?.done ?? 0}
          {job?.progress?.total !== undefined && ` of ${job.progress.total}`} rows
          <button type="button" className="quiet" onClick={() => cancel()} disabled={canceling}>
            Cancel
          </button>
        </p>
      )}
      {error && (
        <p role="alert" className="alert">
          {error.message}
        </p>
      )}
      {result && (
        <div aria-live="polite">
          <p>
            {result.added} added, {result.known} known already, {result.failed} left out.
          </p>
          {result.errors.length > 0 && (
            <ul>
              {result.errors.map(({ row, message }) => (
                <li key={row}>
                  Row {row}: {message}
                </li>
              ))}
            </ul>
          )}
        </div>
      )}
    </section>
  )
}
