// One owner: the copies of main's login are taken out of the other agents' stores.

import { text } from './texts.js';
import * as api from './api.js';
import { ask } from './dialog.js';
import { joined, sentence } from './words.js';

/** Whether main's login lies in other agents' stores, too. */
export const copied = (agent, one) => agent.id === 'main' ? one.copiesIn.length > 0 : one.copiesIn.includes('main');

/** Makes main the one owner, after a look at what that changes. */
async function oneOwner({ find, work, changing, tell }, target) {
  const { one } = find(target);
  if (!one) return;
  const preview = await work(target, changing(text.oneOwnerLooking), () => api.oneOwnerPreview(target.profile));
  if (!preview) return;
  const agents = joined(preview.copies.map(copy => copy.agent));
  const changed = preview.copies.filter(copy => copy.usesNow !== copy.usesThen);
  const lines = [
    text.oneOwnerText({ name: one.name, agents }),
    ...changed.map(copy => text.oneOwnerUses({ agent: copy.agent, account: copy.usesThen ?? text.oneOwnerNone })),
    ...preview.notes.map(sentence),
  ];
  if (!await ask(text.oneOwnerTitle({ name: one.name }), lines, text.oneOwnerGo)) return;
  const done = await work(target, changing(text.oneOwnerWorking), () => api.oneOwner(target.profile));
  if (done) tell([text.oneOwnerDone({ name: one.name, agents }), ...done.notes.map(sentence)].join(' '));
}

/** What the button does. */
export const oneOwnerActions = shell => ({
  'one-owner': (_, data) => oneOwner(shell, data),
});
