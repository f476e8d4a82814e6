// curl as a listener, and what a shell loop around it does: start again with the last id it saw.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createParser } from 'eventsource-parser'

/**
 * Listens with `curl -N`, and again with `Last-Event-ID` whenever the stream ends. `onEvent` gets `{event, data, id}`.
 * `bytes()` is all that came.
 */
export function startCurl(t, url, onEvent, { headers = {}, args = [], again = true } = {}) {
  let child, lastId, code, text = '', ended = false, starts = 0
  const loop = (async () => {
    while (!ended) {
      starts++
      const more = Object.entries({ ...headers, ...(lastId ? { 'Last-Event-ID': lastId } : {}) })
        .flatMap(([name, value]) => ['-H', `${name}: ${value}`])
      child = spawn('curl', ['-sSN', '--no-buffer', ...args, ...more, url], { stdio: ['ignore', 'pipe', 'ignore'] })
      const parser = createParser({
        onEvent(event) {
          if (event.id !== undefined) lastId = event.id
          onEvent(event)
        },
      })
      child.stdout.setEncoding('utf8').on('data', piece => { text += piece; parser.feed(piece) })
      code = (await once(child, 'close'))[0]
      if (!again) break
      if (!ended) await new Promise(done => setTimeout(done, 50))
    }
  })()
  const stop = async () => { ended = true; child?.kill('SIGKILL'); await loop }
  t.after(stop)
  return { stop, finished: loop, code: () => code, bytes: () => text, lastId: () => lastId, starts: () => starts }
}

/** One request: the status, the headers as text and the body. */
export async function curl(url, ...args) {
  const child = spawn('curl', ['-sS', '-i', '--max-time', '60', ...args, url], { stdio: ['ignore', 'pipe', 'pipe'] })
  let out = '', err = ''
  child.stdout.setEncoding('utf8').on('data', text => { out += text })
  child.stderr.setEncoding('utf8').on('data', text => { err += text })
  await once(child, 'close')
  const split = out.indexOf('\r\n\r\n')
  if (split < 0) throw new Error(`curl got no answer from ${url}: ${err}`)
  return { status: Number(out.split(' ')[1]), head: out.slice(0, split).toLowerCase(), body: out.slice(split + 4) }
}
