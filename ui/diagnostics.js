// What Kalit found about this installation, as text to be copied: without secrets and addresses.

import { text } from './texts.js';
import { busyLine, clone, slot } from './dom.js';
import * as api from './api.js';
import { copy } from './clipboard.js';
import { sentence } from './words.js';

/** The sheet of the diagnosis, or of its making. */
export function diagnosticsSheet({ diagnosis }) {
  const { found, problem } = diagnosis ?? {};
  const node = clone('t-diagnostics', {
    lead: problem ? `${sentence(problem.message)} ${problem.hint}`.trim() : text.diagnosticsLead,
    busy: found || problem ? null : busyLine(text.diagnosticsReading),
    found: found ? document.createTextNode(found) : null,
  });
  slot(node, 'copy').hidden = !found;
  slot(node, 'verbs').hidden = !found && !problem;
  return node;
}

/** Looks at the installation anew. */
export async function diagnose({ state, render }) {
  const read = {};
  state.diagnosis = read;
  render();
  try {
    read.found = await api.diagnosis();
  } catch (thrown) {
    read.problem = api.problem(thrown);
  }
  if (state.diagnosis === read) render();
}

/** What the sheet's buttons do. */
export const diagnosticsActions = shell => ({
  'diagnose': () => diagnose(shell),
  'copy-diagnosis': (_, __, pressed) => {
    if (copy(shell.state.diagnosis.found, pressed)) shell.tell(text.diagnosticsCopied);
  },
});
