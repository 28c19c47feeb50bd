// Debian's nginx with scripts/nginx.conf, on other ports and with other files, in front of the real server.

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import https from "node:https";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";
import { fileURLToPath } from "node:url";

import WebSocket from "ws";

import { within } from "../clients/node/server.js";
import { startServer } from "./server.js";

const repository = fileURLToPath(new URL("../../../", import.meta.url));

async function freePort() {
  const server = net.createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

/// nginx, ended by the test. `http` and `proxied` are ports of servers behind it; its own two are in what is returned.
async function startNginx(t, { http, proxied }) {
  const folder = mkdtempSync(join(tmpdir(), "fanfare-nginx-"));
  t.after(() => rmSync(folder, { recursive: true }));
  execFileSync(`${repository}scripts/dev-certs`, ["--dir", folder, "localhost"], { stdio: "ignore" });
  const ports = { https: await freePort(), tcp: await freePort() };
  const replace = (text, from, to) => {
    assert.ok(text.includes(from), `scripts/nginx.conf has ${from}`);
    return text.replaceAll(from, to);
  };
  let conf = readFileSync(`${repository}scripts/nginx.conf`, "utf8");
  for (const [from, to] of [
    ["listen 443 ssl;", `listen 127.0.0.1:${ports.https} ssl;`],
    ["listen 8443 ssl so_keepalive=on;", `listen 127.0.0.1:${ports.tcp} ssl so_keepalive=on;`],
    ["127.0.0.1:9001", `127.0.0.1:${http}`],
    ["127.0.0.1:9002", `127.0.0.1:${proxied}`],
    ["/etc/fanfare/tls.pem", `${folder}/localhost.pem`],
    ["/etc/fanfare/tls.key", `${folder}/localhost.key`],
    ["/run/nginx.pid", `${folder}/nginx.pid`],
    ["/var/log/nginx/error.log", `${folder}/error.log`],
    ["worker_processes auto;", "worker_processes 1;\ndaemon off;"],
    ["worker_rlimit_nofile 200000;", ""],
    ["worker_connections 100000;", "worker_connections 500;"],
  ]) {
    conf = replace(conf, from, to);
  }
  // The same ports on IPv6 may be another's.
  conf = conf.replace(/^.*listen \[::\].*\n/gm, "");
  // Debian's folders for bodies may only be its own user's to write.
  conf = conf.replace("http {", `http {\n${["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((name) => `${name}_temp_path ${folder}/${name};`).join("\n")}`);
  writeFileSync(join(folder, "nginx.conf"), conf);
  const child = spawn("/usr/sbin/nginx", ["-c", join(folder, "nginx.conf"), "-e", join(folder, "error.log")], { stdio: ["ignore", "inherit", "inherit"] });
  const exit = once(child, "exit");
  t.after(async () => {
    child.kill("SIGTERM");
    await exit;
  });
  const ca = readFileSync(join(folder, "ca.pem"));
  await within(
    (async () => {
      while (!(await answers(ports.https))) {
        assert.equal(child.exitCode, null, "nginx runs");
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    })(),
    "nginx listens",
  );
  return { ...ports, ca };
}

function answers(port) {
  return new Promise((resolve) => {
    const socket = net.connect(port, "127.0.0.1", () => (socket.destroy(), resolve(true)));
    socket.on("error", () => resolve(false));
  });
}

/// Opens a WebSocket from an address of this host. Resolves with its first message, or the status that it was refused with.
function hello(t, url, options) {
  const socket = new WebSocket(url, options);
  t.after(() => socket.terminate());
  return within(
    new Promise((resolve, reject) => {
      socket.once("message", (data) => resolve(JSON.parse(data)));
      socket.once("unexpected-response", (_, response) => resolve(response.statusCode));
      socket.once("error", reject);
    }),
    "the hello",
  ).then((first) => ({ first, socket }));
}

const localhost = (ca, more = {}) => ({ ca, servername: "localhost", ...more });

test("WebSockets, streams, publishes and pages go through", async (t) => {
  const server = await startServer(t);
  const nginx = await startNginx(t, { http: server.port, proxied: server.port });
  const { first, socket } = await hello(t, `wss://127.0.0.1:${nginx.https}/ws`, localhost(nginx.ca));
  assert.equal(first.type, "hello");
  const request = (options, body) =>
    new Promise((resolve, reject) => {
      https.request({ host: "127.0.0.1", port: nginx.https, ...localhost(nginx.ca), ...options }, resolve).on("error", reject).end(body);
    });
  const stream = await request({ path: "/v1/sse?topics=a" });
  t.after(() => stream.destroy());
  assert.equal(stream.headers["content-type"], "text/event-stream");
  let text = "";
  const has = (wanted) =>
    within(
      new Promise((resolve) => {
        const look = () => text.includes(wanted) && resolve();
        stream.on("data", look);
        look();
      }),
      `${wanted} on the stream`,
    );
  stream.setEncoding("utf8").on("data", (part) => (text += part));
  await has('"type":"subscribed"');
  const published = await request({ path: "/v1/topics/a", method: "POST", headers: { "Content-Type": "application/json" } }, '{"x":1}');
  assert.equal(published.statusCode, 200);
  // Neither waits for a buffer to be full.
  await has('"data":{"x":1}');
  const subscribed = once(socket, "message");
  socket.send('{"action":"subscribe","id":1,"topics":["a"],"snapshot":false}');
  assert.equal(JSON.parse((await within(subscribed, "the ack"))[0]).type, "subscribed");
  const page = await request({ path: "/" });
  assert.equal(page.statusCode, 200);
  assert.match(page.headers["content-type"], /^text\/html/);
});

test("limits by address hold for the client's own, which a header says", async (t) => {
  const server = await startServer(t, "--trusted-proxy", "127.0.0.1", "--max-connections-per-address", "1");
  const nginx = await startNginx(t, { http: server.port, proxied: server.port });
  const open = (localAddress, headers = {}) => hello(t, `wss://127.0.0.1:${nginx.https}/ws`, localhost(nginx.ca, { localAddress, headers }));
  assert.equal((await open("127.0.0.2")).first.type, "hello");
  assert.equal((await open("127.0.0.3")).first.type, "hello");
  assert.equal((await open("127.0.0.2")).first, 429);
  // What a client says of itself counts for nothing.
  assert.equal((await open("127.0.0.3", { "X-Forwarded-For": "10.1.2.3", Forwarded: "for=10.1.2.3" })).first, 429);
});

test("limits by address hold for the client's own, which the PROXY protocol says", async (t) => {
  const plain = await startServer(t);
  const server = await startServer(t, "--trusted-proxy", "127.0.0.1", "--proxy-protocol", "--max-connections-per-address", "1");
  const nginx = await startNginx(t, { http: plain.port, proxied: server.port });
  const open = (localAddress) => hello(t, `wss://127.0.0.1:${nginx.tcp}/ws`, localhost(nginx.ca, { localAddress }));
  assert.equal((await open("127.0.0.2")).first.type, "hello");
  assert.equal((await open("127.0.0.3")).first.type, "hello");
  assert.equal((await open("127.0.0.2")).first, 429);
});
