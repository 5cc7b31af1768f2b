// Asks a real OpenClaw release for its profile order: loads each store with the release's own
// loader and resolves it with the release's own resolver, all in one process.
//
//   node resolve-order.mjs <package>/dist  < {"now":ms,"cases":[…]}
//   case: {"name","stateDir","agentDir"?,"config","provider","preferred"?}
//   or, for releases that keep stores in databases, with what their cells hold instead of the
//   directories: {…,"cells":[inherited, own?]}, each a store with its state merged in
//
// The last line of stdout is {"from":{function: file},"orders":{name:[profile id]}}.
// File names and export names of the bundles change with every release, so both functions are
// found by what the files contain.

import fs from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

const dist = process.argv[2];
const { now, cases } = JSON.parse(fs.readFileSync(0, 'utf8'));
const sources = new Map(
  fs
    .readdirSync(dist)
    .filter((name) => /\.m?js$/.test(name))
    .map((name) => [name, fs.readFileSync(path.join(dist, name), 'utf8')]),
);

const from = {};
const resolveOrder = await load('resolveAuthProfileOrder');
// The later releases' plain loader adds what other programs' logins would bring; there are none.
const managed = cases.some(({ cells }) => cells);
const loadStore = managed || (await load('ensureAuthProfileStoreWithoutExternalProfiles', 'ensureAuthProfileStore'));
const readCell = managed && (await load('coercePersistedAuthProfileStore'));
const merge = managed && (await load('mergeAuthProfileStores'));

const realNow = Date.now;
const orders = {};
for (const { name, stateDir, agentDir, config, provider, preferred, cells } of cases) {
  if (stateDir) process.env.OPENCLAW_STATE_DIR = stateDir;
  Date.now = () => now;
  try {
    const store = cells ? fromCells(cells) : loadStore(agentDir);
    orders[name] = resolveOrder({ cfg: config, store, provider, preferredProfile: preferred });
  } finally {
    Date.now = realNow;
  }
}
// Written at once, and an exit without waiting for whatever the bundle left open.
fs.writeSync(1, `\n${JSON.stringify({ from, orders })}\n`);
process.exit(0);

/** As the release's own loader puts an agent's store over the inherited one. */
function fromCells([inherited, own]) {
  const base = readCell(inherited) ?? { version: 1, profiles: {} };
  const mine = own && readCell(own);
  return mine ? merge(base, mine, { preserveBaseRuntimeExternalProfiles: true }) : base;
}

/** Imports the first of the named functions that the release exports. */
async function load(...names) {
  for (const name of names) {
    const exporting = [...sources]
      .map(([file, source]) => ({ file, alias: exportName(source, name) }))
      .filter(({ alias }) => alias)
      // Several chunks may hold a copy. The one that pulls in least does not start the CLI.
      .map((found) => ({ ...found, size: weight(found.file) }))
      .sort((a, b) => a.size - b.size);
    if (exporting.length === 0) continue;
    const { file, alias } = exporting[0];
    const loaded = (await import(pathToFileURL(path.join(dist, file)).href))[alias];
    if (typeof loaded !== 'function') throw new Error(`${file} exports no function ${alias} for ${name}`);
    from[name] = file;
    return loaded;
  }
  throw new Error(`no file in ${dist} defines and exports ${names.join(' or ')}: this release is built in another way`);
}

function exportName(source, name) {
  if (!new RegExp(`^(async )?function ${name}\\(`, 'm').test(source)) return undefined;
  const list = source.match(/^export \{([^}]*)\};?\s*$/m)?.[1] ?? '';
  for (const item of list.split(',')) {
    const [local, exported = local] = item.trim().split(' as ');
    if (local === name) return exported;
  }
  return undefined;
}

/** Bytes of a file and of everything in dist that it imports statically. */
function weight(file, seen = new Set()) {
  const source = sources.get(file);
  if (source === undefined || seen.has(file)) return 0;
  seen.add(file);
  const imports = [...source.matchAll(/^import (?:.* from )?"\.\/([^"]+)";/gm)];
  return imports.reduce((sum, [, next]) => sum + weight(next, seen), source.length);
}
