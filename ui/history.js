// What happened to the accounts, or to one of them, as Kalit kept it: the newest first.

import { text } from './texts.js';
import { button, clone, code, draw, slot } from './dom.js';
import * as api from './api.js';
import * as places from './places.js';
import { exact, sentence } from './words.js';

const STEP = 100;

/** What ended a login, and what is odd but harmless; everything else went as it should. */
const LOST = ['signed-out', 'openclaw-refused', 'dropped', 'vanished', 'store-unreadable'];
const ODD = ['refresh-failed', 'not-renewed', 'changed', 'added', 'adopted', 'sign-in-sealed', 'shared', 'renewed-elsewhere'];
/** What a person does, wherever it was done with Kalit. */
const YOURS = ['signed-in', 'imported', 'switched', 'cooldown-cleared', 'removed', 'revoked', 'restored', 'order-changed'];

/** The sheet of the history. */
export function historySheet({ history, view }, now, place) {
  const shown = isOf(history, place) ? history : null;
  const { found, problem } = shown ?? {};
  const events = found?.events ?? [];
  const node = clone('t-history', {
    back: place.profile ? text.backToAccount : text.backToAccounts,
    title: place.profile ? text.historyOf({ name: nameOf(view, place.profile) }) : text.history,
    lead: problem ? `${sentence(problem.message)} ${problem.hint}`.trim() : !found ? text.historyReading : events.length ? text.historyLead : text.noHistory,
    aside: found?.setAside ? [`${text.historyAside} `, code(found.setAside)] : null,
    events: events.map((event, at) => row(event, at, view, now)),
    acts: [
      problem && button(text.lookAgain, { action: 'read-history' }, { main: true }),
      found?.hasMore && button(text.moreHistory, { action: 'more-history' }),
    ].filter(Boolean),
  });
  if (problem) slot(node, 'lead').setAttribute('role', 'alert');
  slot(node, 'back').href = place.profile ? places.account(place.agent ?? 'main', place.profile) : places.board;
  return node;
}

function row({ type, at, agent, profileId, cause }, number, view, now) {
  const named = profileId !== null && type in text.events;
  const node = clone('t-event', {
    what: named ? text.events[type]({ name: nameOf(view, profileId) }) : text.plainEvents[type] ?? type,
    // A cause that has no words here is a code for programs: `kalit history` shows it.
    where: [agent, cause && text.eventCauses[cause]].filter(Boolean).join(' · '),
    at: exact(at, now),
  });
  slot(node, 'at').dateTime = new Date(at).toISOString();
  const tone = LOST.includes(type) ? 'lost' : ODD.includes(type) || cause === 'outside' ? 'odd' : YOURS.includes(type) ? 'you' : 'program';
  const peg = node.querySelector('.peg');
  draw(peg, tone === 'lost' || tone === 'odd' ? 'p-diamond' : 'p-ring');
  peg.classList.add(tone);
  Object.assign(node.dataset, { type, number });
  return node;
}

/** An account's name as it is shown; of one that is gone none if names are hidden. */
function nameOf({ snapshot }, profileId) {
  const accounts = snapshot.agents.flatMap(agent => agent.providers).flatMap(provider => provider.accounts);
  const known = accounts.find(one => one.profileId === profileId);
  return known?.name ?? (snapshot.showNames ? profileId.slice(profileId.indexOf(':') + 1) : text.someAccount);
}

const isOf = (history, place) => Boolean(history) && history.agent === place.agent && history.profile === place.profile;

/** Reads what was kept; what is shown stays until then. */
export async function readHistory({ state, render }, { agent, profile }, more = 0) {
  const before = isOf(state.history, { agent, profile }) ? state.history : null;
  const read = { agent, profile, limit: (before?.limit ?? STEP) + more, found: before?.found ?? null };
  state.history = read;
  render();
  try {
    read.found = await api.history(agent, profile, read.limit);
  } catch (thrown) {
    Object.assign(read, { problem: api.problem(thrown), found: null });
  }
  if (state.history === read) render();
}

/** What the sheet's buttons do. */
export const historyActions = shell => ({
  'read-history': () => readHistory(shell, shell.state.place),
  'more-history': () => readHistory(shell, shell.state.place, STEP),
});
