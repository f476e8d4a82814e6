import { useState } from 'react'
import { useLiveEvents } from '../live.js'

interface Notice {
  readonly id: number
  readonly text: string
}

/** How many are shown: the newest. */
const most = 3

/** What happened that belongs on no page: a dropped file that is no book, the end of an import. */
export function Notices() {
  const [notices, setNotices] = useState<readonly Notice[]>([])
  useLiveEvents(['import.failed', 'import.finished'], event => {
    const text =
      event.name === 'import.failed'
        ? `${event.data.file} could not be read: ${event.data.message}`
        : `Import ${event.data.status}: ${event.data.added} added, ${event.data.failed} left out`
    setNotices(old => [...old, { id: (old.at(-1)?.id ?? 0) + 1, text }].slice(-most))
  })
  return (
    <ul className="notices" aria-live="polite">
      {notices.map(({ id, text }) => (
        <li key={id}>
          {text}
          <button
            type="button"
            className="quiet"
            aria-label="Dismiss"
            onClick={() => setNotices(old => old.filter(notice => notice.id !== id))}
          >
            ×
          </button>
        </li>
      ))}
    </ul>
  )
}
