// Adding an agent: OpenClaw makes it, which takes some seconds.

import { text } from './texts.js';
import { clone, fill, slot } from './dom.js';
import * as api from './api.js';
import * as places from './places.js';
import { sentence } from './words.js';

/** The sheet that asks for the agent's id. */
export function newAgentSheet({ view }) {
  const node = clone('t-new-agent', { lead: text.newAgentLead({ dir: view.snapshot.installation.stateDir }), error: null, save: text.newAgentGo });
  const field = node.querySelector('input');
  field.addEventListener('input', () => {
    slot(node, 'save').disabled = !field.value.trim();
    complain(node, null);
  });
  return node;
}

function complain(node, words) {
  fill(slot(node, 'error'), words);
  node.querySelector('input').setAttribute('aria-invalid', String(Boolean(words)));
}

/** What the form does. */
export const newAgentForms = ({ sheet, tell, reload }) => ({
  'add-agent': async form => {
    const node = form.closest('.view');
    const [field, save] = [node.querySelector('input'), slot(node, 'save')];
    if (field.disabled) return;
    field.disabled = save.disabled = true;
    save.textContent = text.askingOpenClaw;
    try {
      const added = await api.addAgent(field.value.trim());
      await reload();
      // It may have taken seconds: whoever has gone elsewhere stays there.
      if (sheet.contains(form)) location.hash = places.agent(added.id);
      tell([text.agentAdded({ id: added.id }), ...added.notes.map(sentence)].join(' '));
    } catch (thrown) {
      const { message, hint } = api.problem(thrown);
      field.disabled = save.disabled = false;
      save.textContent = text.newAgentGo;
      complain(node, `${sentence(message)} ${hint}`.trim());
      field.focus();
    }
  },
});
