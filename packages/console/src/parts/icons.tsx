import type { JSX } from 'preact'

/** Drawn on 16 × 16, by lines alone. */
const PATHS = {
  overview: 'M2 13.5h12M3.5 10.5l3-4 2.5 2.5 4-6',
  tail: 'M2.5 4h11M2.5 8h7M2.5 12h9',
  connections: 'M8 8m-1.7 0a1.7 1.7 0 1 0 3.4 0a1.7 1.7 0 1 0-3.4 0M4.2 12.2a6 6 0 0 1 0-8.4M11.8 3.8a6 6 0 0 1 0 8.4',
  topics: 'M3 3v8.5a1.5 1.5 0 0 0 1.5 1.5H7M3 7h4M9.5 7h4M9.5 13h4',
  jobs: 'M2.5 4.5h11v3h-11zM2.5 11.5h11M2.5 11.5h6',
  publish: 'M14 2 7 9M14 2l-4.5 12L7 9 2 6.5z',
  explain: 'M8 8m-6 0a6 6 0 1 0 12 0a6 6 0 1 0-12 0M6.3 6.3a1.8 1.8 0 1 1 2.6 1.6c-.6.3-.9.7-.9 1.3M8 11.5v.1',
  log: 'M3 4.2C3 3 5.2 2.2 8 2.200s5 .8 5 2-2.2 2-5 2-5-.8-5-2zM3 4.200v7.600c0 1.2 2.2 2 5 2s5-.8 5-2V4.200M3 8c0 1.2 2.2 2 5 2s5-.8 5-2',
  sun: 'M8 8m-2.8 0a2.8 2.8 0 1 0 5.6 0a2.8 2.8 0 1 0-5.6 0M8 1.500v1.300M8 13.200v1.300M1.5 8h1.300M13.2 8h1.300M3.4 3.400l.9.9M11.7 11.700l.9.9M3.4 12.600l.9-.9M11.7 4.300l.9-.9',
  moon: 'M13.5 9.500A6 6 0 0 1 6.5 2.500a6 6 0 1 0 7 7z',
  auto: 'M8 8m-6 0a6 6 0 1 0 12 0a6 6 0 1 0-12 0M8 2v12M10.5 3v10M12.7 4.500v7',
  keyboard: 'M1.5 4h13v8h-13zM4 6.500h.1M6.6 6.500h.1M9.3 6.500h.1M12 6.500h.1M5 9.500h6',
  out: 'M6.5 2.500h-4v11h4M6.5 8h7.500M11 5l3 3-3 3',
  pause: 'M5.5 3.500v9M10.5 3.500v9',
  play: 'M5 3l8 5-8 5z',
  copy: 'M5.5 5.500h8v8h-8zM3.5 10.500h-1v-8h8v1',
  close: 'M3.5 3.500l9 9M12.5 3.500l-9 9',
  up: 'M8 13V3M3.5 7.5 8 3l4.5 4.5',
  check: 'M3 8.500l3.5 3.500L13 4.5',
  trash: 'M2.5 4h11M6 4V2.500h4V4M4 4l.7 9.500h6.600L12 4M6.7 6.500v4.500M9.3 6.500v4.5',
} as const

export type IconName = keyof typeof PATHS

export function Icon({ name }: { name: IconName }): JSX.Element {
  return (
    <svg class="icon" viewBox="0 0 16 16" width="16" height="16" aria-hidden="true">
      <path d={PATHS[name]} />
    </svg>
  )
}
