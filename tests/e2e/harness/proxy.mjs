// A TCP proxy that can be told to cut every connection, as a network does, or to be away for a while.
import net from 'node:net'
import { once } from 'node:events'

export async function startProxy(t, hub) {
  const sockets = new Set()
  let away = false
  const server = net.createServer(client => {
    if (away) return client.resetAndDestroy()
    const upstream = net.connect(hub.port, '127.0.0.1')
    for (const [from, to] of [[client, upstream], [upstream, client]]) {
      sockets.add(from)
      from.on('error', () => {})
      from.on('close', () => { sockets.delete(from); to.destroy() })
      from.pipe(to)
    }
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const cut = () => { for (const socket of sockets) socket.resetAndDestroy() }
  const down = () => { away = true; cut() }
  const up = () => { away = false }
  t.after(() => { server.close(); cut() })
  return { cut, down, up, url: `http://127.0.0.1:${server.address().port}` }
}
