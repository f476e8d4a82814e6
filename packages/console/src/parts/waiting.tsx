import type { JSX } from 'preact'
import { useNow } from '../context.js'

/** Seconds until `time`, never less than 1: "in 0 s" reads like a mistake. */
export function secondsUntil(time: number, now: number): number {
  return Math.max(1, Math.ceil((time - now) / 1000))
}

/** The hub can't be reached yet. */
export function Waiting({ until, why, onNow }: { until: number; why: string; onNow: () => void }): JSX.Element {
  const now = useNow(250)
  return (
    <main class="login">
      <div class="card form" role="status">
        <h1>Tidings console</h1>
        <p>{why}</p>
        <p class="soft">Asked again in {secondsUntil(until, now)} s.</p>
        <footer>
          <button type="button" onClick={onNow}>
            Ask now
          </button>
        </footer>
      </div>
    </main>
  )
}
