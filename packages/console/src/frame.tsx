import type { FunctionComponent, JSX } from 'preact'
import { useEffect, useState } from 'preact/hooks'
import { go, route, useHub, useNarrow, useNow } from './context.js'
import { type KeyMap, useKeys } from './keys.js'
import { Boundary } from './parts/boundary.js'
import { Icon } from './parts/icons.js'
import { secondsUntil } from './parts/waiting.js'
import { PLACES } from './places.js'
import { formatRoute, type ViewName } from './route.js'
import { useStore } from './store.js'
import { setTheme, type Theme, theme } from './theme.js'
import { ConnectionsView } from './views/connections.js'
import { ExplainView } from './views/explain.js'
import { Help } from './views/help.js'
import { JobsView } from './views/jobs.js'
import { LogView } from './views/log.js'
import { OverviewView } from './views/overview.js'
import { PublishView } from './views/publish.js'
import { TailView } from './views/tail.js'
import { TopicsView } from './views/topics.js'

const VIEWS: Readonly<Record<ViewName, FunctionComponent>> = {
  overview: OverviewView,
  tail: TailView,
  connections: ConnectionsView,
  topics: TopicsView,
  jobs: JobsView,
  publish: PublishView,
  explain: ExplainView,
  log: LogView,
}

/** What is around every view: menu, title, connection. */
export function Frame({ onLogout }: { onLogout: (() => void) | undefined }): JSX.Element {
  const hub = useHub()
  const { view } = useStore(route)
  const [help, setHelp] = useState(false)
  const narrow = useNarrow()
  const place = PLACES.find(each => each.view === view)
  const View = VIEWS[view]
  const jumps = Object.fromEntries(PLACES.map(each => [`g ${each.key}`, () => go(each.view)]))
  const keys: KeyMap = { ...jumps, '?': () => setHelp(true) }
  useKeys(keys)
  useEffect(() => {
    document.title = `${place?.title ?? 'Console'} · Tidings`
  }, [place])

  return (
    <div class="frame">
      <button type="button" class="skip" onClick={() => document.getElementById('main')?.focus()}>
        To the content
      </button>
      <nav aria-label="Views">
        <a class="brand" href={formatRoute('overview')}>
          <svg viewBox="0 0 32 32" width="24" height="24" aria-hidden="true">
            <rect width="32" height="32" rx="7" />
            <path d="M11 21a7 7 0 0 1 0-10M21 11a7 7 0 0 1 0 10" />
            <circle cx="16" cy="16" r="2.6" />
          </svg>
          <span>Tidings</span>
        </a>
        <ul>
          {PLACES.map(each => (
            <li key={each.view}>
              <a
                href={formatRoute(each.view)}
                aria-current={each.view === view ? 'page' : undefined}
                aria-label={each.title}
                title={`${each.title} (g ${each.key})`}
              >
                <Icon name={each.view} />
                <span>{narrow ? (each.short ?? each.title) : each.title}</span>
              </a>
            </li>
          ))}
        </ul>
        <div class="nav-foot">
          <span class="who" title={`${hub.who.principal}, by ${hub.who.source}`}>
            {hub.who.dev ? 'development mode' : hub.who.principal}
          </span>
          <span class="version">{hub.who.version}</span>
        </div>
      </nav>
      <header class="top">
        <h1>{place?.title}</h1>
        <Badge />
        <div class="top-buttons">
          <button
            type="button"
            class="plain icon-only"
            aria-label="Keys (?)"
            title="Keys (?)"
            onClick={() => setHelp(true)}
          >
            <Icon name="keyboard" />
          </button>
          <ThemeSwitch />
          {onLogout && (
            <button type="button" class="plain icon-only" aria-label="Log out" title="Log out" onClick={onLogout}>
              <Icon name="out" />
            </button>
          )}
        </div>
      </header>
      <main id="main" tabIndex={-1}>
        <Boundary key={view}>
          <View />
        </Boundary>
      </main>
      {help && <Help onClose={() => setHelp(false)} />}
    </div>
  )
}

const THEMES: Readonly<Record<Theme, { next: Theme; icon: 'auto' | 'sun' | 'moon'; label: string }>> = {
  auto: { next: 'light', icon: 'auto', label: 'Colours of the system' },
  light: { next: 'dark', icon: 'sun', label: 'Light colours' },
  dark: { next: 'auto', icon: 'moon', label: 'Dark colours' },
}

function ThemeSwitch(): JSX.Element {
  const { next, icon, label } = THEMES[useStore(theme)]
  return (
    <button
      type="button"
      class="plain icon-only"
      aria-label={`${label}; change`}
      title={label}
      onClick={() => setTheme(next)}
    >
      <Icon name={icon} />
    </button>
  )
}

/** How the connection is, and when it is tried again. */
function Badge(): JSX.Element {
  const hub = useHub()
  const live = useStore(hub.live)
  const now = useNow(500)
  const text = {
    open: 'Live',
    connecting: 'Connecting',
    waiting: `Offline, again in ${secondsUntil(live.retryAt ?? now, now)} s`,
    // What the client says begins with who ended it, which here is known.
    closed: `Ended${live.error ? `: ${live.error.message.replace(/^the hub ended the connection: /, '')}` : ''}`,
  }[live.status]
  return (
    <span class="badge" data-is={live.status}>
      <span role="status" title={live.error?.message}>
        {text}
      </span>
      {(live.status === 'waiting' || live.status === 'closed') && (
        <button type="button" class="link" onClick={() => hub.reconnect()}>
          {live.status === 'closed' ? 'connect' : 'now'}
        </button>
      )}
    </span>
  )
}
