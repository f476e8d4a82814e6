// What a run looks like in a terminal: what happens scrolls by, and below it stands a table that is drawn anew each second. Where there
// is no terminal it is a line a second.
import { clock } from './figures.mjs'

const BOLD = '\x1b[1m', DIM = '\x1b[2m', RED = '\x1b[31m', GREEN = '\x1b[32m', YELLOW = '\x1b[33m', PLAIN = '\x1b[0m'
const CLEAR_LINE = '\x1b[2K'

export class Board {
  #drawn = 0
  #begin = performance.now()

  constructor(out = process.stdout) {
    this.out = out
    this.isTerminal = Boolean(out.isTTY) && process.env.TERM !== 'dumb'
    this.hasColors = this.isTerminal && !process.env.NO_COLOR
  }

  /** Seconds since it began. */
  get seconds() { return (performance.now() - this.#begin) / 1000 }
  begin() { this.#begin = performance.now() }

  bold(text) { return this.#colored(BOLD, text) }
  dim(text) { return this.#colored(DIM, text) }
  good(text) { return this.#colored(GREEN, text) }
  bad(text) { return this.#colored(RED, text) }
  odd(text) { return this.#colored(YELLOW, text) }

  #colored(color, text) { return this.hasColors ? `${color}${text}${PLAIN}` : text }

  /** A line that stays. */
  say(text = '') {
    this.#erase()
    this.out.write(`${text}\n`)
  }

  /** Something that happened. */
  note(text) { this.say(`${this.dim(clock(this.seconds).padStart(6))}  ${text}`) }

  /** Draws the table anew, or writes the line. */
  show(table, line) {
    if (!this.isTerminal) return this.note(line)
    this.#erase()
    // Asked for each time: a terminal may have been made wider or narrower.
    const width = this.out.getWindowSize()[0] - 1
    this.out.write(table.map(row => `${cut(row, width)}\n`).join(''))
    this.#drawn = table.length
  }

  /** The table goes, and what is said next stands there. */
  #erase() {
    if (this.#drawn) this.out.write(`\x1b[${this.#drawn}A${`${CLEAR_LINE}\n`.repeat(this.#drawn)}\x1b[${this.#drawn}A`)
    this.#drawn = 0
  }
}

/** A row without what would not fit into its line: a second line would be in the way. Colors take no room. */
function cut(row, width) {
  let seen = 0, kept = ''
  for (const piece of row.split(/(\x1b\[\d+m)/)) {
    if (piece.startsWith('\x1b[')) kept += piece
    else {
      kept += piece.slice(0, Math.max(0, width - seen))
      seen += piece.length
    }
  }
  return kept
}
