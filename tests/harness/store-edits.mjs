// Edits the store of the main agent as a running OpenClaw does, through the release's own locked
// writer:
//   node store-edits.mjs <package dir>
// Prints {"ready":true}, then for each line of stdin, {"id":…,"credential":…}, stores that
// credential and prints {"written":true|false}.
import { createInterface } from "node:readline";
import { openclawFunction } from "./openclaw-exports.mjs";

const update = await openclawFunction(process.argv[2], "updateAuthProfileStoreWithLock");
console.log(JSON.stringify({ ready: true }));
for await (const line of createInterface({ input: process.stdin })) {
  const { id, credential } = JSON.parse(line);
  const store = await update({
    updater(store) {
      store.profiles[id] = credential;
      return true;
    },
  });
  console.log(JSON.stringify({ written: store !== null }));
}
