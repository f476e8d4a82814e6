// @vitest-environment jsdom
import { h, render } from 'preact'
import { expect, test, vi } from 'vitest'
import { HubProvider, useResource } from '../src/context.js'
import type { Hub } from '../src/hub.js'
import { onKey, useKeys } from '../src/keys.js'
import { Store, useStore } from '../src/store.js'

test('what changes right after a drawing is drawn', async () => {
  const store = new Store('before')
  const place = document.createElement('div')
  render(
    h(() => h('p', null, useStore(store)), null),
    place,
  )
  store.set('after')
  await vi.waitFor(() => expect(place.textContent).toBe('after'))
})

test('the keys of a view are there as soon as it is', () => {
  const run = vi.fn()
  const View = () => {
    useKeys({ j: run })
    return h('p', null)
  }
  render(h(View, null), document.createElement('div'))
  onKey(new KeyboardEvent('keydown', { key: 'j' }))
  expect(run).toHaveBeenCalledOnce()
})

test('what was fetched of one thing is not shown for another', async () => {
  const hub = { comebacks: new Store(0), ask: async (path: string) => `of ${path}` } as unknown as Hub
  const place = document.createElement('div')
  const View = ({ path }: { path: string }) => {
    const { value, loading } = useResource<string>(path)
    return h('p', null, loading ? 'loading' : value)
  }
  const show = (path: string) => render(h(HubProvider, { value: hub, children: h(View, { path }) }), place)
  show('one')
  await vi.waitFor(() => expect(place.textContent).toBe('of one'))
  show('other')
  expect(place.textContent).toBe('loading')
  await vi.waitFor(() => expect(place.textContent).toBe('of other'))
})
