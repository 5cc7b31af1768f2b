// A login that OpenClaw dropped: what is known of it, and putting back the sealed copy. Nothing is
// changed before a person has read what is known and says so here.

import { text } from './texts.js';
import { button, clone, code, draw, glyph, go, slot } from './dom.js';
import * as api from './api.js';
import { again } from './board.js';
import * as places from './places.js';
import { exact, sentence } from './words.js';

/** Refusals that looking again does not change. */
const FINAL = ['restore.spent', 'restore.unproven', 'restore.not_needed', 'store.schema_unsupported', 'era.mixed'];

/** The sheet of a restore, in whichever phase it is. */
export function restoreSheet({ restore, view }, now) {
  const { agent, profile, phase, preview, restored, problem } = restore;
  const account = find(view, restore);
  const name = account?.name ?? profile.slice(profile.indexOf(':') + 1);
  const acts = verbs(restore, account ?? { provider: preview?.provider ?? profile.split(':')[0], kind: 'oauth', profileId: profile });
  const node = clone('t-restore', {
    title: text.restoreTitles[phase === 'refused' && !FINAL.includes(problem.code) ? 'later' : phase]({ name }),
    lead: lead(restore, now),
    busy: phase === 'looking' || phase === 'working' ? busy(phase) : null,
    warning: phase === 'asked' ? clone('t-strip', { message: sentence(preview.warning), hint: null, code: null, verbs: acts }) : null,
    known: phase === 'asked' && preview.known.length ? preview.known.map(known) : null,
    stores: stores(phase === 'done' ? restored.stores : phase === 'asked' ? preview.stores : []),
    notes: phase === 'done' ? restored.notes.map(known) : null,
    acts: phase === 'asked' ? null : acts,
  });
  for (const strip of node.querySelectorAll('.strip')) {
    strip.classList.add('notice');
    draw(strip.querySelector('svg'), 'g-shared');
  }
  slot(node, 'knownTitle').hidden = slot(node, 'known').hidden;
  slot(node, 'storesTitle').hidden = slot(node, 'stores').hidden;
  if (problem) slot(node, 'lead').setAttribute('role', 'alert');
  slot(node, 'back').href = places.account(agent, profile);
  return node;
}

function lead({ phase, preview, restored, problem }, now) {
  if (problem) return `${sentence(problem.message)} ${problem.hint}`.trim();
  if (phase === 'asked') {
    const sealed = exact(preview.sealedAt, now);
    return preview.droppedAt ? text.restoreLeadDropped({ dropped: exact(preview.droppedAt, now), sealed }) : text.restoreLead({ sealed });
  }
  if (phase === 'done') return restored.resumed ? `${text.restoreResumed} ${text.restoredLead}` : text.restoredLead;
  return null;
}

function busy(phase) {
  const words = document.createElement('span');
  words.textContent = phase === 'looking' ? text.restoreLooking : text.restoreWorking;
  return [glyph('g-renew', true), words];
}

const known = words => Object.assign(document.createElement('li'), { textContent: sentence(words) });

function stores(paths) {
  return paths.map(path => {
    const item = document.createElement('li');
    item.append(code(path));
    return item;
  });
}

function verbs({ agent, profile, phase, problem }, account) {
  const data = { agent, profile };
  const signIn = (word, main) => go(word, again({ id: agent }, account), { main });
  if (phase === 'looking' || phase === 'working') return [];
  if (phase === 'asked') {
    return [button(text.putBack, { action: 'put-back', ...data }, { main: true }), signIn(text.signInInstead, false)];
  }
  if (phase === 'done') return [go(text.done, places.board, { main: true })];
  if (FINAL.includes(problem.code)) return [signIn(text.signInAgain, true)];
  return [button(text.lookAgain, { action: 'look-again', ...data }, { main: true }), signIn(text.signInAgain, false)];
}

function find(view, { agent, profile }) {
  const accounts = view?.snapshot.agents.find(one => one.id === agent)?.providers.flatMap(one => one.accounts);
  return accounts?.find(one => one.profileId === profile) ?? null;
}

/** Looks at what is known of the login; nothing is changed. */
export async function look({ state, render }, { agent, profile }) {
  const asked = { agent, profile, phase: 'looking' };
  state.restore = asked;
  render();
  try {
    Object.assign(asked, { preview: await api.restorePreview(agent, profile), phase: 'asked' });
  } catch (thrown) {
    Object.assign(asked, { problem: api.problem(thrown), phase: 'refused' });
  }
  if (state.restore !== asked) return;
  render();
  // One more press of the same key does what this sheet is for.
  document.querySelector('[data-action=put-back]')?.focus({ preventScroll: true });
}

/** What the sheet's buttons do. */
export const restoreActions = shell => ({
  'look-again': (_, data) => look(shell, data),
  'put-back': async (_, { agent, profile }) => {
    const { state, render, reload, tell } = shell;
    const running = state.restore;
    if (running?.phase !== 'asked') return;
    running.phase = 'working';
    render();
    try {
      Object.assign(running, { restored: await api.restore(agent, profile), phase: 'done' });
    } catch (thrown) {
      Object.assign(running, { problem: api.problem(thrown), phase: 'failed' });
    }
    if (state.restore === running) render();
    else tell(running.problem ? sentence(running.problem.message) : text.restoreTitles.done({ name: profile.slice(profile.indexOf(':') + 1) }));
    await reload();
  },
});
