// Starts the server under test and ends it, by its process id. Every wait has a deadline, so that a hanging server fails a
// test instead of hanging it.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const repository = fileURLToPath(new URL("../../../../", import.meta.url));
const binary = process.env.FANFARE_BIN ?? `${repository}target/debug/fanfare`;

/// No event of these tests takes a second on an idle machine; this is for busy ones.
export const DEADLINE_MS = 30_000;

/// `promise`, or an error when it is not kept in time.
export function within(promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: not within ${DEADLINE_MS} ms`)), DEADLINE_MS);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/// `fanfare serve` on a free port; `test` ends it when it is over.
export async function startServer(test, ...flags) {
  const basic = ["--listen", "127.0.0.1:0", "--shards", "2", "--max-connections", "1000", "--log-level", "warn"];
  const child = spawn(binary, ["serve", ...basic, ...flags], { stdio: ["ignore", "pipe", "inherit"] });
  const exit = once(child, "exit").then(([code]) => code);
  test.after(async () => {
    child.kill("SIGKILL");
    await exit;
  });
  const address = await within(ready(child.stdout), "the server is ready");
  return {
    url: (path) => address + path,
    terminate: () => child.kill("SIGTERM"),
    exitCode: () => within(exit, "the server ends"),
  };
}

async function ready(stdout) {
  let address = "";
  for await (const line of createInterface({ input: stdout })) {
    if (line === "ready") return address;
    if (line.startsWith("listening on ")) address = line.replace("listening on ", "");
  }
  throw new Error("the server ended before it was ready");
}
