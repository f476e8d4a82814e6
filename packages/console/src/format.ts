/** How numbers, sizes and times are said. Pure: what time it is comes as an argument. */

const grouped = new Intl.NumberFormat('en', { maximumFractionDigits: 0 })

/** A count as people read it: `1,234`, and from a hundred thousand on `123 k`, `1.23 M`. */
export function count(n: number): string {
  if (!Number.isFinite(n)) return '–'
  if (Math.abs(n) < 100_000) return grouped.format(n)
  const [unit, size] = Math.abs(n) < 1e6 ? ['k', 1e3] : Math.abs(n) < 1e9 ? ['M', 1e6] : ['G', 1e9]
  return `${significant(n / (size as number))} ${unit}`
}

/** A number per second: a digit behind the point only where it matters. */
export function rate(n: number): string {
  if (!Number.isFinite(n)) return '–'
  if (n > 0 && n < 0.05) return '< 0.1'
  return n > 0 && n < 10 ? trim(n.toFixed(1)) : count(n)
}

/** Bytes in binary units, as disks and memory are counted. */
export function bytes(n: number): string {
  if (!Number.isFinite(n)) return '–'
  let value = n
  for (const unit of ['B', 'KiB', 'MiB', 'GiB']) {
    if (value < 1000) return `${unit === 'B' ? Math.round(value) : significant(value)} ${unit}`
    value /= 1024
  }
  return `${significant(value)} TiB`
}

/** A latency in ms: `0.4 ms`, `12 ms`, `1.2 s`. */
export function latency(ms: number | null | undefined): string {
  if (ms === null || ms === undefined || !Number.isFinite(ms)) return '–'
  if (ms >= 1000) return `${significant(ms / 1000)} s`
  return `${ms < 10 ? trim(ms.toFixed(1)) : Math.round(ms)} ms`
}

/** How long, in one or two words: `4 s`, `3 min`, `2 h 5 min`, `6 d 3 h`. */
export function duration(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000))
  if (seconds < 60) return `${seconds} s`
  const minutes = Math.floor(seconds / 60)
  if (minutes < 60) return `${minutes} min`
  const hours = Math.floor(minutes / 60)
  if (hours < 24) return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`
  const days = Math.floor(hours / 24)
  return hours % 24 && days < 30 ? `${days} d ${hours % 24} h` : `${days} d`
}

/** How long ago. */
export function ago(time: number | null | undefined, now: number): string {
  if (time === null || time === undefined) return '–'
  return now - time < 1000 ? 'now' : `${duration(now - time)} ago`
}

/** The time of the day, with ms where `precise`. */
export function clock(time: number | undefined, precise = false): string {
  if (time === undefined) return ''
  const date = new Date(time)
  const two = (n: number) => String(n).padStart(2, '0')
  const text = `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`
  return precise ? `${text}.${String(date.getMilliseconds()).padStart(3, '0')}` : text
}

/** Day and time, for what may be older than today. */
export function moment(time: number, now: number): string {
  const date = new Date(time)
  if (date.toDateString() === new Date(now).toDateString()) return clock(time)
  const day = date.toLocaleDateString('en', { day: 'numeric', month: 'short' })
  return `${day} ${clock(time)}`
}

function significant(n: number): string {
  return trim(n.toFixed(n < 10 ? 2 : n < 100 ? 1 : 0))
}

function trim(text: string): string {
  return text.includes('.') ? text.replace(/\.?0+$/, '') : text
}
