// Renews a login again and again, as agent runs of OpenClaw do, with the release's own resolver:
//   node resolve-again.mjs <package dir> <profile id> <agent dir> <pause>
// Loads everything, prints {"ready":true}, begins at the first line of stdin and stops at the
// second, with pauses of up to so many milliseconds. Then prints {"resolved":n,"failures":{text:n}}.
// The access tokens must be so short-lived that none is ever good enough for the release.
import { writeSync } from "node:fs";
import { createInterface } from "node:readline";
import { setTimeout as pause } from "node:timers/promises";
import { openclawFunction } from "./openclaw-exports.mjs";

const [packageDir, profileId, agentDir, longest] = process.argv.slice(2);
const resolve = await openclawFunction(packageDir, "resolveApiKeyForProfile");
const load = await openclawFunction(packageDir, "ensureAuthProfileStore");
// Loads what a renewal needs beforehand: an unknown profile resolves to nothing.
await resolve({ store: { version: 1, profiles: {} }, profileId, cfg: {} });

const lines = createInterface({ input: process.stdin });
console.log(JSON.stringify({ ready: true }));
await new Promise((line) => lines.once("line", line));
let stopped = false;
lines.once("line", () => (stopped = true));
lines.once("close", () => (stopped = true));

let resolved = 0;
const failures = {};
while (!stopped) {
  try {
    const found = await resolve({ cfg: {}, store: load(agentDir), profileId, agentDir });
    if (!found) throw new Error("no key");
    resolved += 1;
  } catch (error) {
    const text = String(error.message).split("\n")[0];
    failures[text] = (failures[text] ?? 0) + 1;
  }
  await pause(Math.random() * Number(longest));
}
// Written at once, and an exit without waiting for whatever the bundle left open.
writeSync(1, `\n${JSON.stringify({ resolved, failures })}\n`);
process.exit(0);
