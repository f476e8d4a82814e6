// Serves dist/ at /console/ as the hub does when it is embedded, and passes all else on to a hub: for tests, and for looking at it.
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import http from 'node:http'
import { extname, join, normalize } from 'node:path'
import { fileURLToPath } from 'node:url'

const dist = fileURLToPath(new URL('../dist/', import.meta.url))
const TYPES = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript',
  '.css': 'text/css',
  '.svg': 'image/svg+xml',
}
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

/** Listens on this machine; `hub` is a URL, or what gives one (it may move). Answers the server. */
export async function serveConsole(hub, port = 0) {
  const server = http.createServer((request, response) => {
    const path = new URL(request.url, 'http://console').pathname
    if (path.startsWith('/console')) void file(path, response)
    else pass(request, response, typeof hub === 'function' ? hub() : hub)
  })
  server.listen(port, '127.0.0.1')
  await once(server, 'listening')
  return server
}

async function file(path, response) {
  const name = normalize(path.replace(/^\/console\/?/, '')) || 'index.html'
  try {
    const bytes = await readFile(join(dist, name === '.' ? 'index.html' : name))
    response.writeHead(200, {
      'content-type': TYPES[extname(name)] ?? TYPES['.html'],
      'content-security-policy': POLICY,
      'x-content-type-options': 'nosniff',
    })
    response.end(bytes)
  } catch {
    response.writeHead(404).end()
  }
}

function pass(request, response, hub) {
  // With the `Host` that the browser sent: the hub compares it with the page's origin.
  const { method, headers } = request
  const onward = http.request(new URL(request.url, hub), { method, headers }, answer => {
    response.writeHead(answer.statusCode, answer.headers)
    response.flushHeaders()
    answer.pipe(response)
    answer.on('error', () => response.destroy())
  })
  // As a hub that is down: the connection ends.
  onward.on('error', () => response.destroy())
  response.on('close', () => onward.destroy())
  request.pipe(onward)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const server = await serveConsole(process.env.HUB ?? 'http://127.0.0.1:8090', Number(process.env.PORT ?? 0))
  console.log(`http://127.0.0.1:${server.address().port}/console/`)
}
