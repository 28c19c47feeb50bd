// A push server on Node with `ws`: a set of sockets for each topic, a send for each of them.
//
// Commands are text: `sub NAME,NAME…`, answered by `ok`, and `pub NAME PAYLOAD`, whose payload every subscriber of the
// topic gets as it is. On /echo every message comes back. Prints where it listens, then `ready`.
//
// COMPRESS=yes offers permessage-deflate; the server keeps no context from one message to the next, which ws advises.

import { createRequire } from "node:module";

// As installed from npm, wherever that is.
const { WebSocketServer } = createRequire(`${process.env.RIVALS_NPM}/package.json`)("ws");

const topics = new Map();
const server = new WebSocketServer({
  host: "127.0.0.1",
  port: Number(process.argv[2] ?? 0),
  backlog: 4096,
  perMessageDeflate: process.env.COMPRESS ? { serverNoContextTakeover: true, threshold: 256 } : false,
  maxPayload: 16 << 20,
});

function subscribe(socket, topic) {
  let sockets = topics.get(topic);
  if (!sockets) {
    topics.set(topic, (sockets = new Set()));
  }
  sockets.add(socket);
}

function leave(socket) {
  for (const topic of socket.topics) {
    topics.get(topic)?.delete(socket);
  }
}

function publish(topic, payload) {
  // Bytes once, so that no send encodes text again.
  const bytes = Buffer.from(payload);
  for (const socket of topics.get(topic) ?? []) {
    socket.send(bytes, { binary: false });
  }
}

function obey(socket, text) {
  const end = text.indexOf(" ", 4);
  switch (text.slice(0, 4)) {
    case "sub ":
      socket.topics = text.slice(4).split(",");
      socket.topics.forEach((topic) => subscribe(socket, topic));
      socket.send("ok");
      break;
    case "pub ":
      publish(text.slice(4, end), text.slice(end + 1));
      break;
    default:
      socket.send("what?");
  }
}

server.on("connection", (socket, request) => {
  socket.topics = [];
  socket.on("error", () => socket.terminate());
  if (request.url === "/echo") {
    socket.on("message", (message, isBinary) => socket.send(message, { binary: isBinary }));
    return;
  }
  socket.on("message", (message) => obey(socket, message.toString()));
  socket.on("close", () => leave(socket));
});

server.on("listening", () => {
  console.log(`listening on ws://127.0.0.1:${server.address().port}`);
  console.log("ready");
});
