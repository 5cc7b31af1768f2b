// Clears what holds profiles of main agents back with the release's own function, as it does before
// a sign-in:
//   node clear-cooldown.mjs <package>/dist  < {"stateDirs":[…],"profileId":…}
// 2026.4.29 to 2026.7.1; 2026.2.17 has no such function. The last line of stdout is {"cleared":n}.
import { readFileSync, writeSync } from "node:fs";
import path from "node:path";
import { openclawFunction } from "./openclaw-exports.mjs";

const { stateDirs, profileId } = JSON.parse(readFileSync(0, "utf8"));
const clear = await openclawFunction(path.dirname(process.argv[2]), "clearAuthProfileCooldown");
for (const stateDir of stateDirs) {
  process.env.OPENCLAW_STATE_DIR = stateDir;
  await clear({ store: { version: 1, profiles: {} }, profileId });
}
// Written at once, and an exit without waiting for whatever the bundle left open.
writeSync(1, `\n${JSON.stringify({ cleared: stateDirs.length })}\n`);
process.exit(0);
