// Finds functions of an installed OpenClaw release by their source names: its bundler renames
// exports and splits files anew in every release, but keeps function names.
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";

// Imports one function. Never picks a chunk that imports entry.js: loading that starts the CLI.
export async function openclawFunction(packageDir, name) {
  const dist = path.join(packageDir, "dist");
  const definition = new RegExp(`^(?:async )?function ${name}\\(`, "m");
  for (const file of readdirSync(dist).sort()) {
    if (!file.endsWith(".js")) continue;
    const source = readFileSync(path.join(dist, file), "utf8");
    if (!definition.test(source) || source.includes('"./entry.js"')) continue;
    const exported = exportedAs(source, name);
    if (!exported) continue;
    const chunk = await import(pathToFileURL(path.join(dist, file)).href);
    if (typeof chunk[exported] === "function") return chunk[exported];
  }
  throw new Error(`${name} is not exported by ${packageDir}`);
}

function exportedAs(source, name) {
  for (const [, list] of source.matchAll(/^export \{([^}]*)\}/gm)) {
    for (const entry of list.split(",")) {
      const [local, alias = local] = entry.trim().split(/\s+as\s+/);
      if (local === name) return alias;
    }
  }
  return undefined;
}
