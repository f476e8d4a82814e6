// A fixture's page, built by Vite from the built packages and served with the hub behind the same origin.
import http from 'node:http'
import { once } from 'node:events'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { extname, join } from 'node:path'
import { build } from 'vite'
import { root } from './hub.mjs'

const types = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css' }

/** Builds and serves `tests/e2e/fixtures/<name>`; returns its address. Ends with the test. */
export async function startPage(t, name, hub) {
  const pages = await mkdtemp(join(tmpdir(), 'tidings-page-'))
  t.after(() => rm(pages, { recursive: true, force: true }))
  await build({ root: join(root, 'tests/e2e/fixtures', name), logLevel: 'silent', build: { outDir: pages, emptyOutDir: true } })
  const server = http.createServer(async (request, response) => {
    const { pathname } = new URL(request.url, 'http://app')
    if (pathname.startsWith('/v1/')) return forward(hub, request, response)
    const file = await readFile(join(pages, pathname === '/' ? 'index.html' : pathname)).catch(() => undefined)
    if (file === undefined) response.writeHead(404).end()
    else response.writeHead(200, { 'content-type': types[extname(pathname)] ?? 'text/html' }).end(file)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => { server.closeAllConnections(); server.close() })
  return `http://127.0.0.1:${server.address().port}/`
}

function forward(hub, request, response) {
  const { method, headers, url } = request
  const upstream = http.request(hub.url + url, { method, headers }, answer => {
    response.writeHead(answer.statusCode, answer.headers)
    answer.pipe(response)
    answer.on('error', () => response.destroy())
  })
  upstream.on('error', () => { if (response.headersSent) response.destroy(); else response.writeHead(502).end() })
  response.on('close', () => upstream.destroy())
  request.pipe(upstream)
}
