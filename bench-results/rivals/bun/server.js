// A push server on Bun's own WebSockets (uWebSockets underneath), with their native publish and subscribe.
//
// Commands are text: `sub NAME,NAME…`, answered by `ok`, and `pub NAME PAYLOAD`, whose payload every subscriber of the
// topic gets as it is. On /echo every message comes back. Prints where it listens, then `ready`.
//
// TLS_CERT and TLS_KEY name files, then it speaks TLS only. COMPRESS=shared offers permessage-deflate.

const compress = process.env.COMPRESS || false;
const server = Bun.serve({
  hostname: "127.0.0.1",
  port: Number(process.argv[2] ?? 0),
  tls: process.env.TLS_CERT && { cert: Bun.file(process.env.TLS_CERT), key: Bun.file(process.env.TLS_KEY) },
  reusePort: process.argv[3] === "reuse-port",
  fetch(request, server) {
    const echo = new URL(request.url).pathname === "/echo";
    if (!server.upgrade(request, { data: { echo } })) {
      return new Response("this server speaks WebSocket\n", { status: 426 });
    }
  },
  websocket: {
    perMessageDeflate: compress && { compress, decompress: "shared" },
    maxPayloadLength: 16 << 20,
    // Beyond this uWebSockets drops messages; no load here may come near it.
    backpressureLimit: 16 << 20,
    message(socket, message) {
      if (socket.data.echo) {
        socket.send(message);
        return;
      }
      const text = String(message);
      const end = text.indexOf(" ", 4);
      switch (text.slice(0, 4)) {
        case "sub ":
          for (const topic of text.slice(4).split(",")) {
            socket.subscribe(topic);
          }
          socket.send("ok");
          break;
        case "pub ":
          server.publish(text.slice(4, end), text.slice(end + 1), Boolean(compress));
          break;
        default:
          socket.send("what?");
      }
    },
  },
});

console.log(`listening on ws://127.0.0.1:${server.port}`);
console.log("ready");
