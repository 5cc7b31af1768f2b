// One account: its state in a sentence, its verbs, why it is used or not, and what is known of it.

import { text } from './texts.js';
import { breakable, button, clone, code, go, slot } from './dom.js';
import { again, rotates } from './board.js';
import { commandFor } from './sessions.js';
import { cuts, cutText, key } from './key.js';
import * as api from './api.js';
import { copied } from './one-owner.js';
import * as places from './places.js';
import { wayBack } from './snapshots.js';
import * as states from './states.js';
import { duration, exact, renews, sentence, within } from './words.js';

/** The sheet of an account, or null when it is gone. */
export function account(state, now, place) {
  const { view, busy, why } = state;
  const agent = view.snapshot.agents.find(agent => agent.id === place.agent);
  const provider = agent?.providers.find(provider => provider.accounts.some(one => one.profileId === place.profile));
  const one = provider?.accounts.find(one => one.profileId === place.profile);
  if (!one) return null;
  const { installation, agents, paused } = view.snapshot;
  const working = busy.get(`${agent.id} ${one.profileId}`);
  const node = clone('t-one', {
    back: text.backToPlace({ agent: agent.id, provider: provider.name }),
    title: one.name,
    lead: working ?? stateLine(one, paused, now),
    lost: one.lost && why?.agent === agent.id && why.profileId === one.profileId ? lost(why, one) : null,
    verbs: states.writable(installation) ? verbs(agent, one, { working: Boolean(working), managed: states.kept(installation), several: agents.length > 1 }) : [],
    tries: provider.accounts.map((other, at) => attempt(provider, other, at, now)),
    reason: reason(agent, provider),
    facts: facts(agent, one, now),
  });
  slot(node, 'back').href = places.board;
  slot(node, 'model').replaceChildren(code(commandFor(state, agent.id, one)));
  Object.assign(slot(node, 'copy').dataset, { command: commandFor(state, agent.id, one), focus: 'copy-model' });
  slot(node, 'history').href = places.history(agent.id, one.profileId);
  slot(node, 'sessions').href = places.sessions(agent.id);
  return node;
}

function stateLine(one, paused, now) {
  const left = one.expiresAt !== null && one.expiresAt > now && !one.lost ? duration(one.expiresAt - now, text.longParts) : null;
  const state = states.word(one, now);
  const due = one.dueAt !== null && one.dueAt > now && !paused && one.state === 'healthy' ? renews(one.dueAt, now) : null;
  return [left ? text.stateLeft({ state, left }) : sentence(state), due, sentence(one.sentence ?? one.lost?.text)].filter(Boolean).join(' ');
}

/** What speaks for the cause that the line above tells, what it is not, and what to do. */
function lost(why, one) {
  const untold = words => one.sentence?.includes(words) ? null : words;
  return clone('t-lost', {
    sure: [untold(why.sentence), text.sure[why.confidence]].filter(Boolean).join(' '),
    known: [...why.evidence, ...why.not].map(known => Object.assign(document.createElement('li'), { textContent: known })),
    remedy: untold(why.remedy),
  });
}

/** Asks why a lost account was lost. */
export async function readWhy({ state, render }, { agent, profile }) {
  const accounts = state.view?.snapshot.agents.find(one => one.id === agent)?.providers.flatMap(provider => provider.accounts);
  if (!accounts?.find(one => one.profileId === profile)?.lost) return;
  try {
    state.why = await api.why(agent, profile);
  } catch {
    // The line above tells the cause; here it goes without its evidence.
    state.why = null;
  }
  render();
}

function verbs(agent, one, { working, managed, several }) {
  const data = { agent: agent.id, profile: one.profileId };
  const list = [];
  const isOauth = one.kind === 'oauth';
  const lost = states.needsYou(one);
  const back = Boolean(one.restore?.offered);
  if (back) list.push(go(text.restore, wayBack(agent.id, one.restore, one.profileId), { main: true }));
  if (states.usable(one) && !one.inUse) {
    list.push(one.inherited ? button(text.useInMain, { action: 'use-in-main', ...data }) : button(rotates(agent, one) ? text.alwaysUse : text.use, { action: 'use', ...data }));
  }
  if (states.clearable(one, managed)) list.push(button(text.clear, { action: 'clear-cooldown', ...data }));
  if (isOauth && !managed && !['signed-out', 'vanished', 'shared'].includes(one.state)) {
    list.push(button(one.state === 'refused' ? text.checkNow : text.renewNow, { action: 'renew', ...data }));
  }
  list.push(go(isOauth ? text.signInAgain : text.pasteAgain, again(agent, one), { main: lost && !back && (managed || ['signed-out', 'vanished'].includes(one.state)) }));
  if (several && states.usable(one)) list.push(button(text.useEverywhere, { action: 'use-everywhere', ...data }));
  if (isOauth && !managed && copied(agent, one)) list.push(button(text.oneOwner, { action: 'one-owner', ...data }));
  if (!one.inherited) list.push(button(text.remove, { action: 'remove', ...data }, { grave: true }));
  for (const node of list) if (node.localName === 'button') node.disabled = working;
  return list;
}

function attempt(provider, other, at, now) {
  const rotating = provider.orderSource === 'rotation';
  const chosen = other.effective;
  const passed = other.passedOver ?? (other.lost ? within(states.word(other, now)) : null);
  const verdict = chosen ? (rotating && provider.candidates.length > 1 ? text.nextInTurn : text.used)
    : passed ? text.passedOver({ why: passed }) : text.following;
  const node = clone('t-try', { number: String(at + 1), name: breakable(other.name), verdict });
  node.classList.toggle('chosen', chosen);
  node.classList.toggle('away', Boolean(passed) && !chosen);
  return node;
}

function reason(agent, provider) {
  const pins = agent.pins.filter(pin => provider.accounts.some(one => one.profileId === pin.profileId));
  const names = [...new Set(pins.map(pin => pin.profileId))];
  const pinned = names.map(id => {
    const name = provider.accounts.find(one => one.profileId === id).name;
    return text.pinned({ name, n: pins.filter(pin => pin.profileId === id).length });
  });
  return [sentence(provider.reason.text), ...pinned].filter(Boolean).join(' ');
}

function facts(agent, one, now) {
  const rows = [];
  const fact = (term, value, help = null) => value && rows.push(clone('t-fact', { term: text.facts[term], value, help }));
  fact('person', one.email ?? one.displayName);
  fact('plan', one.plan);
  if (one.kind !== 'oauth') fact('kind', text.kinds[one.kind]);
  if (one.expiresAt !== null && one.expiresAt > now && !one.lost) {
    const words = document.createElement('span');
    words.textContent = text.leftUntil({ left: duration(one.expiresAt - now), at: exact(one.expiresAt, now) });
    fact('left', [key(one, now), words]);
  } else if (one.expiresAt !== null && !one.lost) fact('ends', exact(one.expiresAt, now));
  if (!one.lost) fact('renewal', one.renewal);
  const digits = cuts(one.family);
  if (digits) fact('cut', code(cutText(digits)), text.cutHelp);
  fact('copies', one.copiesIn.join(', '));
  fact('shared', one.sharedWith.join(', '));
  if (one.lastUsed !== null) fact('lastUsed', exact(one.lastUsed, now));
  if (one.lastError) fact('trouble', sentence(one.lastError.message), one.lastError.hint);
  fact('id', code(one.profileId));
  fact('store', code(agent.storePath));
  return rows;
}
