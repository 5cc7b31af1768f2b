// Resolves a profile as an agent run of OpenClaw does, with the release's own resolver, which
// renews an expired login:
//   node resolve-profile.mjs <package dir> <profile id> <agent dir>…
// Loads everything, prints {"ready":true}, waits for a line on stdin, then resolves the profile in
// one agent directory after the other. Prints {"resolved":[<access token>|null|{"error":…}]}.
import { writeSync } from "node:fs";
import { createInterface } from "node:readline";
import { openclawFunction } from "./openclaw-exports.mjs";

const [packageDir, profileId, ...agentDirs] = process.argv.slice(2);
const resolve = await openclawFunction(packageDir, "resolveApiKeyForProfile");
const load = await openclawFunction(packageDir, "ensureAuthProfileStore");
// Loads what a renewal needs beforehand: an unknown profile resolves to nothing.
await resolve({ store: { version: 1, profiles: {} }, profileId, cfg: {} });

const lines = createInterface({ input: process.stdin });
console.log(JSON.stringify({ ready: true }));
await new Promise((line) => lines.once("line", line));

const resolved = [];
for (const agentDir of agentDirs) {
  try {
    const found = await resolve({ cfg: {}, store: load(agentDir), profileId, agentDir });
    resolved.push(found ? tokenOf(found.apiKey) : null);
  } catch (error) {
    resolved.push({ error: String(error.message) });
  }
}
// Written at once, and an exit without waiting for whatever the bundle left open.
writeSync(1, `\n${JSON.stringify({ resolved })}\n`);
process.exit(0);

// Some providers' keys are JSON around the access token.
function tokenOf(apiKey) {
  try {
    return JSON.parse(apiKey).token ?? apiKey;
  } catch {
    return apiKey;
  }
}
