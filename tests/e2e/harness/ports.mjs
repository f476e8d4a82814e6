// Ports for programs that are ended and started again at the same address.
import dgram from 'node:dgram'
import { once } from 'node:events'
import net from 'node:net'

// Below those that Linux gives to outgoing connections and to who asks for any (from 32768 on): while the program is away, none of the
// many clients that look for it can be given its port, nor be connected to itself.
const [FIRST, LAST] = [12_000, 32_000]

/** So many ports of 127.0.0.1 that are free now, each given once: to this process, and to no other of the tests while it lives. */
export async function freePorts(count) {
  const ports = []
  while (ports.length < count) {
    const port = FIRST + Math.floor(Math.random() * (LAST - FIRST))
    if (await reserve(port) && await isFree(port)) ports.push(port)
  }
  return ports
}

/** One such port. */
export async function freePort() {
  const [port] = await freePorts(1)
  return port
}

/** Takes the UDP port of this number, which no program here wants, as a sign for the other tests. It is let go with the process. */
async function reserve(port) {
  const sign = dgram.createSocket('udp4')
  try {
    sign.bind({ port, address: '127.0.0.1', exclusive: true })
    await once(sign, 'listening')
  } catch {
    sign.close()
    return false
  }
  sign.unref()
  return true
}

async function isFree(port) {
  const server = net.createServer().listen(port, '127.0.0.1')
  try { await once(server, 'listening') } catch { return false }
  server.close()
  await once(server, 'close')
  return true
}
