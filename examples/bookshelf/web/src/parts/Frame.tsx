import { type QueryKey, type UseQueryOptions, useMutation, useQuery, useQueryClient } from '@tanstack/react-query'
import { type ReactNode, useEffect, useRef } from 'react'
import { Link, useLocation, useRoute } from 'wouter'
import { api } from '../api.js'
import { useLive } from '../live.js'
import type { User } from '../model.js'
import { books, queue } from '../queries.js'
import { ConnectionBadge } from './ConnectionBadge.js'
import { Notices } from './Notices.js'

/** What is around every page: where one can go, who one is, and whether what one sees is live. */
export function Frame({ user, children }: { user: User; children: ReactNode }) {
  const live = useLive()
  const queryClient = useQueryClient()
  const logout = useMutation({
    mutationFn: () => api.post('auth/logout'),
    // Also if the server could not be told: nothing of this user stays on this machine.
    onSettled: () => {
      live.logout()
      queryClient.clear()
      location.assign('/')
    },
  })
  const [path] = useLocation()
  const main = useRef<HTMLElement>(null)
  const seen = useRef(path)
  useEffect(() => {
    // Who reads by ear or goes by keys begins at the top of the new page.
    if (seen.current !== path) main.current?.focus()
    seen.current = path
  }, [path])
  return (
    <>
      <a className="skip" href="#page">
        Skip to the page
      </a>
      <header className="bar">
        <Link href="/" className="brand">
          <img src="/icon.svg" alt="" width="24" height="24" /> Bookshelf
        </Link>
        <nav aria-label="Pages">
          <Tab href="/">Books</Tab>
          <Tab href="/authors" below>
            Authors
          </Tab>
          <Tab href="/series" below>
            Series
          </Tab>
          <Tab href="/wanted">
            Wanted <Count of={books} where={book => book.status === 'wanted'} />
          </Tab>
          <Tab href="/queue">
            Queue <Count of={queue} where={item => item.status !== 'imported'} />
          </Tab>
          <Tab href="/import">Import</Tab>
        </nav>
        <ConnectionBadge />
        <span className="who" title={user.role}>
          {user.name}
        </span>
        <button
          type="button"
          className="quiet"
          title={user.name}
          onClick={() => logout.mutate()}
          disabled={logout.isPending}
        >
          Log out
        </button>
      </header>
      <main id="page" ref={main} tabIndex={-1}>
        {children}
      </main>
      <Notices />
    </>
  )
}

function Tab({ href, below = false, children }: { href: string; below?: boolean; children: ReactNode }) {
  const [here] = useRoute(href)
  const [under] = useRoute(`${href}/*`)
  const current = here || (below && under)
  return (
    <Link href={href} aria-current={current ? 'page' : undefined}>
      {children}
    </Link>
  )
}

interface CountProps<Item, Key extends QueryKey> {
  of: UseQueryOptions<Item[], Error, Item[], Key>
  where: (item: Item) => boolean
}

/** How many there are, drawn again only when that number changes. */
function Count<Item, Key extends QueryKey>({ of, where }: CountProps<Item, Key>) {
  const many = useQuery({ ...of, select: (items: Item[]) => items.filter(where).length }).data ?? 0
  return many > 0 ? <span className="count">{many}</span> : null
}
