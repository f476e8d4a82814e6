/** The operator key: kept for this tab, and for this page alone where storage is disabled. */

const NAME = 'tidings.console.key'
let memory: string | undefined

export function storedKey(): string | undefined {
  try {
    return sessionStorage.getItem(NAME) ?? memory
  } catch {
    return memory
  }
}

/** Keeps the key, or forgets it. */
export function storeKey(key: string | undefined): void {
  memory = key
  try {
    if (key === undefined) sessionStorage.removeItem(NAME)
    else sessionStorage.setItem(NAME, key)
  } catch {
    // Disabled: it is in memory.
  }
}
