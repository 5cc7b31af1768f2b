// Saves without a lock through OpenClaw's own upsertAuthProfile, as `models auth paste-token`,
// `models auth login` and the wizard of 2026.2.17 do, with a pause between its load and its save:
//   node lockless-writer.mjs <package dir> <profile id> <provider> [<agent dir>]
// Reads the new token as the first line of stdin, lets upsertAuthProfile load the store, prints
// {"loaded":true}, waits for a second line, lets it save, prints {"saved":true}. What others wrote
// to auth-profiles.json in between is lost. Without an agent dir it is the main agent's.
import fs from "node:fs";
import path from "node:path";
import { openclawFunction } from "./openclaw-exports.mjs";

const [packageDir, profileId, provider, agentDir] = process.argv.slice(2);
const upsert = await openclawFunction(packageDir, "upsertAuthProfile");
const token = line();

// load and save are one synchronous call: the pause goes into its first read of the store.
const { readFileSync } = fs;
let paused = false;
fs.readFileSync = (file, ...rest) => {
  const content = readFileSync(file, ...rest);
  if (!paused && path.basename(String(file)) === "auth-profiles.json") {
    paused = true;
    say({ loaded: true });
    line();
  }
  return content;
};
upsert({ profileId, credential: { type: "token", provider, token }, agentDir });
fs.readFileSync = readFileSync;
if (!paused) throw new Error("upsertAuthProfile did not read the store where expected");
say({ saved: true });

function say(message) {
  fs.writeSync(1, `${JSON.stringify(message)}\n`);
}

// One line of stdin, waiting for it without letting anything else of this process run.
function line() {
  const byte = Buffer.alloc(1);
  let text = "";
  for (;;) {
    try {
      if (fs.readSync(0, byte) === 0 || byte[0] === 10) return text.trim();
      text += byte.toString("latin1");
    } catch (error) {
      // OpenClaw's own start-up makes stdin non-blocking.
      if (error.code !== "EAGAIN") throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5);
    }
  }
}
