import type { BookStatus, QueueStatus } from '../model.js'

export function Status({ of }: { of: BookStatus | QueueStatus }) {
  return <span className={`status ${of}`}>{of}</span>
}
