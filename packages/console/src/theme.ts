import { Store } from './store.js'

export type Theme = 'auto' | 'light' | 'dark'

const NAME = 'tidings.console.theme'

function stored(): Theme {
  try {
    const value = localStorage.getItem(NAME)
    return value === 'light' || value === 'dark' ? value : 'auto'
  } catch {
    return 'auto'
  }
}

export const theme: Store<Theme> = new Store(stored())

/** Shows the page so, and again next time. `auto` follows the system. */
export function setTheme(next: Theme): void {
  theme.set(next)
  apply()
  try {
    if (next === 'auto') localStorage.removeItem(NAME)
    else localStorage.setItem(NAME, next)
  } catch {
    // Disabled: it counts for this page.
  }
}

export function apply(): void {
  if (theme.value === 'auto') delete document.documentElement.dataset.theme
  else document.documentElement.dataset.theme = theme.value
}
