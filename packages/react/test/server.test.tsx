// In Node, where there is no page: with the client itself.
import { LiveProvider, useConnection, useJob, useLatest, useLive, useLiveEvents, useUpload } from '@tidings/react'
import { renderToString } from 'react-dom/server'
import { expect, it, vi } from 'vitest'

function Page() {
  useLiveEvents('a', () => {})
  const latest = useLatest('a', { initial: 'from the server' })
  const upload = useUpload('import')
  const job = useJob('j1')
  return (
    <p>
      {useConnection().status} {String(latest.data)} {upload.progress} {String(job.state)}{' '}
      {String(useLive().latest('a'))}
    </p>
  )
}

it('a server renders every hook, without an address, and asks nobody', () => {
  const fetch = vi.spyOn(globalThis, 'fetch')
  const complaints = vi.spyOn(console, 'error').mockImplementation(() => {})
  const html = renderToString(
    <LiveProvider options={{}}>
      <Page />
    </LiveProvider>,
  )
  expect(html.replaceAll('<!-- -->', '')).toBe('<p>connecting from the server 0 undefined undefined</p>')
  expect(fetch).not.toHaveBeenCalled()
  expect(complaints).not.toHaveBeenCalled()
})
