// The real server, which can be ended and started again on its port.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

import { within } from "../clients/node/server.js";

const repository = fileURLToPath(new URL("../../../", import.meta.url));
const binary = process.env.FANFARE_BIN ?? `${repository}target/debug/fanfare`;
const BASIC = ["--shards", "2", "--max-connections", "1000", "--log-level", "warn"];
/// Another folder of pages than those in the binary, to try a change without building it.
if (process.env.FANFARE_PAGES) BASIC.push("--static", process.env.FANFARE_PAGES);

/// `fanfare serve` on a free port; the test ends it.
export async function startServer(test, ...flags) {
  const server = new Server(flags);
  test.after(() => server.kill());
  await server.start();
  return server;
}

class Server {
  #flags;
  #child;
  #exit;
  port = 0;

  constructor(flags) {
    this.#flags = flags;
  }

  async start() {
    const listen = ["--listen", `127.0.0.1:${this.port}`];
    this.#child = spawn(binary, ["serve", ...listen, ...BASIC, ...this.#flags], { stdio: ["ignore", "pipe", "inherit"] });
    this.#exit = once(this.#child, "exit");
    this.port = Number(new URL(await within(this.#ready(), "the server is ready")).port);
  }

  async #ready() {
    let address = "";
    for await (const line of createInterface({ input: this.#child.stdout })) {
      if (line === "ready") return address;
      address = line.replace("listening on ", "");
    }
    throw new Error("the server ended before it was ready");
  }

  async kill() {
    this.#child.kill("SIGKILL");
    await this.#exit;
  }

  async restart() {
    await this.kill();
    await this.start();
  }

  /// Publishes over HTTP, as a cron job would.
  async publish(topic, data) {
    const response = await fetch(`http://127.0.0.1:${this.port}/v1/topics/${encodeURIComponent(topic)}`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(data),
    });
    const answer = await response.json();
    if (!response.ok) throw new Error(JSON.stringify(answer));
    return answer;
  }
}
