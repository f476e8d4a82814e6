// nginx with deploy/nginx.conf, on a free port, in a folder of its own.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { root } from './hub.mjs'
import { freePort } from './ports.mjs'
import { until } from './wait.mjs'

/**
 * Starts nginx in front of the hub; `port` is found free a moment before, as nginx can't tell which one it took. `own(port)` is
 * another site than that of deploy/.
 */
export async function startNginx(t, hub, own) {
  const home = await mkdtemp(join(tmpdir(), 'tidings-nginx-'))
  const port = await freePort()
  let site = own?.(port) ?? await readFile(join(root, 'deploy/nginx.conf'), 'utf8')
  if (!own) for (const [from, to] of [['server 127.0.0.1:8090;', `server 127.0.0.1:${hub.port};`], ['listen 80;', `listen 127.0.0.1:${port};`]]) {
    assert.equal(site.split(from).length, 2, `deploy/nginx.conf has "${from}" once`)
    site = site.replace(from, to)
  }
  await writeFile(join(home, 'site.conf'), site)
  await writeFile(join(home, 'nginx.conf'), `
    ${process.getuid() === 0 ? 'user root;' : ''}
    worker_processes 1;
    worker_shutdown_timeout 200ms;
    pid ${home}/nginx.pid;
    events { worker_connections 2048; }
    http {
      access_log off;
      client_body_temp_path ${home}/body; proxy_temp_path ${home}/proxy; fastcgi_temp_path ${home}/fastcgi;
      uwsgi_temp_path ${home}/uwsgi; scgi_temp_path ${home}/scgi;
      include ${home}/site.conf;
    }`)
  const child = spawn('nginx', ['-p', home, '-e', 'stderr', '-c', join(home, 'nginx.conf'), '-g', 'daemon off;'], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` },
  })
  let said = ''
  child.stderr.setEncoding('utf8').on('data', text => { said += text })
  const ended = once(child, 'exit')
  t.after(async () => {
    child.kill('SIGTERM')
    await ended
    await rm(home, { recursive: true, force: true })
  })
  await until(() => `nginx to listen; it said: ${said}`, () => {
    if (child.exitCode !== null) throw new Error(`nginx ended: ${said}`)
    return canConnect(port)
  })
  const workers = async () => (await readFile(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8')).split(' ').filter(Boolean)
  /** Has a new process take over, and waits until the old one has ended: it cuts what is still open. */
  const reload = async () => {
    const before = await workers()
    child.kill('SIGHUP')
    await until('the old nginx to end', async () => { const now = await workers(); return now.length && !now.some(worker => before.includes(worker)) })
  }
  return { url: `http://127.0.0.1:${port}`, port, reload }
}

function canConnect(port) {
  return new Promise(answer => {
    const socket = net.connect(port, '127.0.0.1')
    socket.on('connect', () => { socket.destroy(); answer(true) })
    socket.on('error', () => answer(false))
  })
}
