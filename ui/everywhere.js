// One account for every agent: the order in OpenClaw's configuration.

import { text } from './texts.js';
import * as api from './api.js';
import { ask } from './dialog.js';
import { joined, sentence } from './words.js';

/** Puts an account first for every agent, after a look at what that changes. */
async function useEverywhere({ find, work, changing, tell }, target) {
  const { provider, one } = find(target);
  if (!one) return;
  const ids = [one.profileId, ...provider.candidates.filter(id => id !== one.profileId)];
  const preview = await work(target, changing(text.switching), () => api.orderGloballyPreview(provider.id, ids));
  if (!preview) return;
  const names = (preview.ids ?? ids).map(id => provider.accounts.find(other => other.profileId === id)?.name ?? id);
  const lines = [
    text.everywhereText({ provider: provider.name, names: names.join(', ') }),
    preview.clears.length && text.everywhereClears({ agents: joined(preview.clears) }),
    preview.gatewayRunning && (preview.restartsGateway ? text.everywhereRestarts : text.everywhereKeepsRunning),
    ...preview.notes.map(sentence),
  ].filter(Boolean);
  if (!await ask(text.everywhereTitle({ name: one.name }), lines, text.everywhereGo)) return;
  const done = await work(target, text.askingOpenClaw, () => api.orderGlobally(provider.id, preview.ids ?? ids));
  if (!done) return;
  const others = done.filter(each => each.effective !== one.profileId).map(each => each.agent);
  const notes = [...new Set(done.flatMap(each => each.notes))].map(sentence);
  tell([others.length ? text.notEverywhere({ name: one.name, agents: joined(others) }) : text.nowEverywhere({ name: one.name, provider: provider.name }), ...notes].join(' '));
}

/** What the button does. */
export const everywhereActions = shell => ({
  'use-everywhere': (_, data) => useEverywhere(shell, data),
});
