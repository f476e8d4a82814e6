import { useConnection } from '../live.js'

const words = { connecting: 'Connecting…', open: 'Live', waiting: 'Reconnecting…', closed: 'Not live' } as const

/** Whether what the page shows is live, in a word; how, for who points at it. */
export function ConnectionBadge() {
  const connection = useConnection()
  const { status, transport, sharing, error } = connection
  const how = [transport, sharing === 'none' ? undefined : sharing].filter(Boolean).join(', ')
  return (
    <output className={`badge ${status}`} title={error?.message ?? how}>
      {words[status]}
      {error && <span className="hidden">: {error.message}</span>}
    </output>
  )
}
