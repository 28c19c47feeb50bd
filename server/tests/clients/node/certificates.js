// Certificates that scripts/dev-certs makes, and requests that trust them.

import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { request } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { within } from "./server.js";

const devCerts = fileURLToPath(new URL("../../../../scripts/dev-certs", import.meta.url));

/// An authority, and the flags of a server with a certificate for localhost. The files go when the test ends.
export function certificates(t) {
  const folder = mkdtempSync(join(tmpdir(), "fanfare-tls-"));
  t.after(() => rmSync(folder, { recursive: true }));
  execFileSync(devCerts, ["--dir", folder], { stdio: ["ignore", "ignore", "inherit"] });
  const files = ["--tls-cert", join(folder, "localhost.pem"), "--tls-key", join(folder, "localhost.key")];
  return { ca: readFileSync(join(folder, "ca.pem")), flags: ["--tls-listen", "127.0.0.1:0", ...files] };
}

/// The body of the answer to one request, which must be a good one.
export function get(url, ca, { method = "GET", body } = {}) {
  const answer = new Promise((resolve, reject) => {
    // A connection for each: none stays behind.
    const sent = request(url, { ca, method, agent: false, headers: body ? { "Content-Type": "application/json" } : {} }, async (response) => {
      try {
        const text = (await response.setEncoding("utf8").toArray()).join("");
        if (response.statusCode !== 200) throw new Error(`${response.statusCode}: ${text}`);
        resolve(text);
      } catch (error) {
        reject(error);
      }
    });
    sent.on("error", reject);
    sent.end(body);
  });
  return within(answer, `${method} ${url}`);
}
