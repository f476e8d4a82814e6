import type { Settings } from '../source.js'
import type { ClientOptions } from '../types.js'

/** Grows when the messages change, so that an old page and a new one do not meet. */
const VERSION = 1

/**
 * The name under which pages find each other, as channel, locks and worker. Equal for equal settings and scope only.
 *
 * Headers, credentials and a token that is given as it is count too: they decide who asks. They are in the hash alone. A provider may
 * give another token each time, and says nothing about who that is. Where to go on from, and how to come back, do not count.
 */
export function shareName(settings: Settings, token?: ClientOptions['token']): string {
  const { url, paths, query, headers, credentials, scope } = settings
  const who = [sorted(headers), credentials, scope, typeof token === 'string' ? token : null]
  return `tidings/${VERSION}/${hash(JSON.stringify([url, sorted(paths), sorted(query), ...who]))}`
}

function sorted(members: object): [string, unknown][] {
  return Object.entries(members).sort(([a], [b]) => (a < b ? -1 : 1))
}

/** 128 bits in four lanes of MurmurHash3's finalizer: `crypto.subtle` is asynchronous, and missing on plain HTTP. */
function hash(text: string): string {
  const lanes = [0x9e3779b9, 0x85ebca6b, 0xc2b2ae35, 0x27d4eb2f]
  for (let index = 0; index < text.length; index++) {
    const unit = text.charCodeAt(index)
    for (let lane = 0; lane < lanes.length; lane++) {
      lanes[lane] = mix((lanes[lane] ?? 0) ^ Math.imul(unit + lane + 1, 0x01000193))
    }
  }
  return lanes.map(lane => (lane >>> 0).toString(16).padStart(8, '0')).join('')
}

function mix(value: number): number {
  let mixed = value
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b)
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35)
  return mixed ^ (mixed >>> 16)
}
