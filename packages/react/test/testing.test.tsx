// @vitest-environment jsdom
import { act, cleanup, render, screen } from '@testing-library/react'
import { useState } from 'react'
import { afterEach, expect, test } from 'vitest'
import { LiveProvider, useConnection, useLiveEvents } from '../src/index.js'
import { FakeClient } from '../src/testing.js'

afterEach(cleanup)

function Titles() {
  const [titles, show] = useState<readonly unknown[]>([])
  const status = useConnection(connection => connection.status)
  useLiveEvents('book.put', event => show(old => [...old, event.data]), { topics: ['book/*'] })
  return (
    <p>
      {status}: {titles.join(', ')}
    </p>
  )
}

test('a component is tested by a client that the test speaks for', () => {
  const client = new FakeClient()
  render(
    <LiveProvider client={client}>
      <Titles />
    </LiveProvider>,
  )
  act(() => client.open())
  act(() =>
    client.tell(
      { name: 'book.put', topic: 'book/1', data: 'Emma' },
      { name: 'book.put', topic: 'author/1', data: 'not of these topics' },
      { name: 'book.gone', topic: 'book/1', data: 'not of this name' },
      { name: 'book.put', topic: 'book/2', data: 'Persuasion' },
    ),
  )
  expect(screen.getByText('open: Emma, Persuasion')).toBeDefined()
  act(() => client.cut())
  expect(screen.getByText('waiting: Emma, Persuasion')).toBeDefined()
})

test('patterns fit as on a hub', () => {
  const client = new FakeClient()
  const heard: string[] = []
  client.subscribe({ topics: ['book/*', 'shelf/**', 'a.c'], onEvent: ({ topic }) => void heard.push(topic) })
  client.tell(...['book/1', 'book/1/page', 'shelf/1/2', 'shelf', 'abc', 'a.c'].map(topic => ({ name: 'n', topic })))
  expect(heard).toEqual(['book/1', 'shelf/1/2', 'a.c'])
})

test('who waits for a place is refused when the client is closed', async () => {
  const client = new FakeClient()
  const place = client.position()
  client.close()
  await expect(place).rejects.toMatchObject({ code: 'aborted' })
})
