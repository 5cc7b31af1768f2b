// Writes through OpenClaw's own locked writer, counting in one profile, in a race with a program
// that counts in another one:
//   node lock-writers.mjs <package dir> <profile id> <writes> <the other's profile id> <lead>
// Prints {"ready":true}, waits for a line on stdin, writes, then prints
// {"written":n,"refused":n,"millis":n}. A refusal (the lock could not be had) is tried again.
// Never gets more than <lead> writes ahead, so that neither side finishes before the other began.
import { readFileSync } from "node:fs";
import path from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as pause } from "node:timers/promises";
import { openclawFunction } from "./openclaw-exports.mjs";

const [packageDir, profileId, writes, otherId, lead] = process.argv.slice(2);
const file = path.join(process.env.OPENCLAW_STATE_DIR, "agents/main/agent/auth-profiles.json");
const update = await openclawFunction(packageDir, "updateAuthProfileStoreWithLock");

const lines = createInterface({ input: process.stdin });
console.log(JSON.stringify({ ready: true }));
await new Promise((resolve) => lines.once("line", resolve));

const started = performance.now();
let written = 0;
let refused = 0;
while (written < Number(writes)) {
  while (written >= count(JSON.parse(readFileSync(file, "utf8")), otherId) + Number(lead)) await pause(2);
  const store = await update({
    updater(store) {
      const profile = store.profiles[profileId];
      profile.metadata = { ...profile.metadata, count: String(count(store, profileId) + 1) };
      const stats = store.usageStats?.[profileId];
      store.usageStats = {
        ...store.usageStats,
        [profileId]: { ...stats, errorCount: (stats?.errorCount ?? 0) + 1 },
      };
      return true;
    },
  });
  if (store) written += 1;
  else refused += 1;
  await pause(Math.random() * 8);
}
lines.close();
console.log(JSON.stringify({ written, refused, millis: Math.round(performance.now() - started) }));

function count(store, id) {
  return Number(store.profiles[id].metadata?.count ?? 0);
}
