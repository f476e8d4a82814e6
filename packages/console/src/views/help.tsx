import type { JSX } from 'preact'
import { Dialog } from '../parts/dialog.js'
import { PLACES } from '../places.js'

const KEYS: readonly (readonly [string, string])[] = [
  ['/', 'go to the filter'],
  ['j, k', 'next and previous row'],
  ['Enter', 'open the row'],
  ['Escape', 'close what is open, leave a field'],
  ['space', 'pause and resume the tail'],
  ['n', 'new job; older page of the log'],
  ['← →', 'move along a chart that has the focus'],
  ['Ctrl Enter', 'publish, from any field'],
  ['?', 'this list'],
]

/** What the keys do. */
export function Help({ onClose }: { onClose: () => void }): JSX.Element {
  return (
    <Dialog title="Keys" onClose={onClose}>
      <div class="dialog-body help">
        <dl>
          {PLACES.map(({ key, title }) => (
            <div key={key}>
              <dt>
                <kbd>g</kbd> <kbd>{key}</kbd>
              </dt>
              <dd>{title}</dd>
            </div>
          ))}
        </dl>
        <dl>
          {KEYS.map(([key, what]) => (
            <div key={key}>
              <dt>
                <kbd>{key}</kbd>
              </dt>
              <dd>{what}</dd>
            </div>
          ))}
        </dl>
      </div>
    </Dialog>
  )
}
