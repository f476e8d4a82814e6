// The reference server of Socket.IO as its guide sets it up: whoever connects hears every event, and whoever posts JSON
// to any path publishes it. `node server.mjs PORT` listens on loopback; nothing is kept.

import { createServer } from "node:http";
import { Server } from "socket.io";

const port = Number(process.argv[2]);
if (!Number.isInteger(port) || port < 1 || port > 65535) {
  console.error("usage: node server.mjs PORT");
  process.exit(2);
}

const http = createServer((request, response) => {
  const pieces = [];
  request.on("data", (piece) => pieces.push(piece));
  request.on("end", () => {
    try {
      io.emit("bench", JSON.parse(Buffer.concat(pieces).toString()));
      response.writeHead(204).end();
    } catch {
      response.writeHead(400).end();
    }
  });
});
const io = new Server(http, { serveClient: false });
http.listen({ port, host: "127.0.0.1", backlog: 4096 });
