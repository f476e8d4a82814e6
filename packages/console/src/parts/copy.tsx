import type { JSX } from 'preact'
import { useEffect, useState } from 'preact/hooks'
import { Icon } from './icons.js'

/** Copies `text`, and says for two seconds whether that went well. */
export function Copy({ text, label }: { text: () => string; label: string }): JSX.Element {
  const [said, setSaid] = useState<'copied' | 'failed' | undefined>()
  useEffect(() => {
    if (!said) return
    const timer = setTimeout(() => setSaid(undefined), 2000)
    return () => clearTimeout(timer)
  }, [said])
  const copy = async () => setSaid((await write(text())) ? 'copied' : 'failed')
  return (
    <button type="button" class="small copy" onClick={copy}>
      <Icon name={said === 'copied' ? 'check' : 'copy'} />
      <span aria-live="polite">{said === 'copied' ? 'Copied' : said === 'failed' ? 'Not allowed' : label}</span>
    </button>
  )
}

async function write(text: string): Promise<boolean> {
  try {
    // Only where the page is secure: HTTPS, or this machine.
    await navigator.clipboard.writeText(text)
    return true
  } catch {
    return writeBySelection(text)
  }
}

function writeBySelection(text: string): boolean {
  const area = document.createElement('textarea')
  area.value = text
  area.className = 'off-screen'
  document.body.append(area)
  area.select()
  try {
    return document.execCommand('copy')
  } finally {
    area.remove()
  }
}
