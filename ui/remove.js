// Removing an account: forgotten here or, if a person says so, its login ended at the provider first.

import { text } from './texts.js';
import * as api from './api.js';
import { choose } from './dialog.js';
import * as places from './places.js';
import { joined } from './words.js';

async function remove({ find, work, changing, tell }, target) {
  const { one } = find(target);
  if (!one) return;
  const preview = await work(target, changing(text.removing), () => api.removalPreview(target.agent, target.profile));
  if (!preview) return;
  const { provider, canSignOut, whyNot, alsoUsedBy } = preview;
  const how = await choose(text.removeTitle({ name: one.name, agent: target.agent }), [
    { value: 'here', verb: text.removeGo, help: text.removeText({ provider }) },
    {
      value: 'everywhere',
      verb: text.signOut,
      help: canSignOut ? warning(provider, alsoUsedBy) : text.signOutNot({ why: whyNot }),
      disabled: !canSignOut,
      grave: true,
    },
  ]);
  if (!how) return;
  const done = await work(target, changing(text.removing), () => api.remove(target.agent, target.profile, how === 'everywhere'));
  if (!done) return;
  location.hash = places.board;
  tell([text.removed({ name: one.name, agent: target.agent }), done.signedOut && text.signedOut[done.signedOut]].filter(Boolean).join(' '));
}

/** What signing out everywhere means. */
const warning = (provider, others) => others.length
  ? text.signOutOthersText({ provider, others: joined(others) })
  : text.signOutText({ provider });

/** What the button does. */
export const removeActions = shell => ({
  'remove': (_, data) => remove(shell, data),
});
