// Waiting for conditions, with deadlines that say what was waited for. They are far longer than anything takes: no test is to fail
// because a machine is slow.

/** Milliseconds that are shorter than the time between two heartbeats, which would carry along what something on the way holds back. */
export const BEFORE_A_HEARTBEAT = 12_000

/** The promise's value, or an error that says what did not come in time. `what` may be a function, asked at the end. */
export function within(milliseconds, promise, what) {
  let timer
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => {
      reject(new Error(`waited ${milliseconds} ms for ${typeof what === 'function' ? what() : what}`))
    }, milliseconds)
  })
  return Promise.race([promise, late]).finally(() => clearTimeout(timer))
}

/** Asks again and again until `condition` gives something truthy, and gives that. */
export async function until(what, condition, milliseconds = 60_000) {
  const end = Date.now() + milliseconds
  for (;;) {
    const value = await condition()
    if (value) return value
    if (Date.now() > end) throw new Error(`waited ${milliseconds} ms for ${typeof what === 'function' ? what() : what}`)
    await new Promise(done => setTimeout(done, 10))
  }
}
