// Ports for programs that are ended and started again at the same address.
import { once } from 'node:events'
import net from 'node:net'

// Below those that Linux gives to outgoing connections (from 32768 on): while the program is away, none of the many clients that
// look for it can be given its port, nor be connected to itself.
const [FIRST, LAST] = [12_000, 32_000]

const given = new Set()

/** So many ports of 127.0.0.1 that are free now, each given once by this process. */
export async function freePorts(count) {
  const ports = []
  while (ports.length < count) {
    const port = FIRST + Math.floor(Math.random() * (LAST - FIRST))
    if (given.has(port) || !await isFree(port)) continue
    given.add(port)
    ports.push(port)
  }
  return ports
}

/** One such port. */
export async function freePort() {
  const [port] = await freePorts(1)
  return port
}

async function isFree(port) {
  const server = net.createServer().listen(port, '127.0.0.1')
  try { await once(server, 'listening') } catch { return false }
  server.close()
  await once(server, 'close')
  return true
}
