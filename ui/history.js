// What happened to the accounts, or to one of them, as Kalit kept it: the newest first.

import { text } from './texts.js';
import { button, clone, code, draw, slot } from './dom.js';
import * as api from './api.js';
import * as places from './places.js';
import { exact, sentence } from './words.js';

const STEP = 100;
/** As many are looked through when something is sought. */
const SOUGHT = 5000;

/** What ended a login, and what is odd but harmless; everything else went as it should. */
const LOST = ['signed-out', 'openclaw-refused', 'dropped', 'vanished', 'store-unreadable'];
const ODD = ['refresh-failed', 'not-renewed', 'changed', 'added', 'adopted', 'sign-in-sealed', 'shared', 'renewed-elsewhere'];
/** What a person does, wherever it was done with Kalit. */
const YOURS = ['signed-in', 'imported', 'switched', 'cooldown-cleared', 'removed', 'revoked', 'restored', 'order-changed'];

/** Which events the choice of the sheet leaves. */
const GROUPS = {
  all: () => true,
  ended: ({ type }) => LOST.includes(type),
  others: ({ source }) => !['kalit', 'person'].includes(source),
  yours: ({ source }) => source === 'person',
};

/** The sheet of the history. */
export function historySheet({ history, sought, view }, now, place) {
  const shown = isOf(history, place) ? history : null;
  const { found, problem } = shown ?? {};
  const events = found?.events ?? [];
  const fitting = events.map((event, at) => ({ event, at })).filter(({ event }) => fits(event, sought, view));
  const node = clone('t-history', {
    back: place.profile ? text.backToAccount : text.backToAccounts,
    title: place.profile ? text.historyOf({ name: nameOf(view, place.profile) }) : text.history,
    lead: problem ? `${sentence(problem.message)} ${problem.hint}`.trim() : !found ? text.historyReading : events.length ? text.historyLead : text.noHistory,
    aside: found?.setAside ? [`${text.historyAside} `, code(found.setAside)] : null,
    events: fitting.slice(0, shown?.shown).map(({ event, at }) => row(event, at, view, now)),
    nothing: events.length && !fitting.length ? text.noSuchEvents : null,
    acts: [
      problem && button(text.lookAgain, { action: 'read-history' }, { main: true }),
      (found?.hasMore || fitting.length > shown?.shown) && button(text.moreHistory, { action: 'more-history' }),
      events.length > 0 && button(text.exportHistory, { action: 'export-history' }),
    ].filter(Boolean),
  });
  if (problem) slot(node, 'lead').setAttribute('role', 'alert');
  slot(node, 'back').href = place.profile ? places.account(place.agent ?? 'main', place.profile) : places.board;
  slot(node, 'seek').hidden = !events.length;
  node.querySelector('#history-search').value = sought.words;
  const choice = node.querySelector('#history-group');
  choice.append(...Object.keys(GROUPS).map(group => new Option(text.eventGroups[group], group, group === sought.group, group === sought.group)));
  return node;
}

/** Whether an event is of the chosen group and has all words that are sought. */
function fits(event, { words, group }, view) {
  if (!GROUPS[group](event)) return false;
  const said = [what(event, view), where(event), event.text].join(' ').toLowerCase();
  return words.toLowerCase().split(/\s+/).every(word => said.includes(word));
}

function what({ type, profileId }, view) {
  const named = profileId !== null && type in text.events;
  return named ? text.events[type]({ name: nameOf(view, profileId) }) : text.plainEvents[type] ?? type;
}

/** A cause that has no words here is a code for programs: `kalit history` shows it. */
const where = ({ agent, cause }) => [agent, cause && text.eventCauses[cause]].filter(Boolean).join(' · ');

function row(event, number, view, now) {
  const { type, at, cause } = event;
  const node = clone('t-event', { what: what(event, view), where: where(event), at: exact(at, now) });
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
  const shown = (before?.shown ?? STEP) + more;
  const { words, group } = state.sought;
  const limit = words.trim() || group !== 'all' ? Math.max(shown, SOUGHT) : shown;
  const read = { agent, profile, shown, limit, found: before?.found ?? null };
  state.history = read;
  render();
  try {
    read.found = await api.history(agent, profile, limit);
  } catch (thrown) {
    Object.assign(read, { problem: api.problem(thrown), found: null });
  }
  if (state.history === read) render();
}

/** Seeks other words, or shows another group: older events are read for the first of them only. */
export function seek(shell, change) {
  const { state, render } = shell;
  Object.assign(state.sought, change);
  if (state.history && state.history.limit < SOUGHT) readHistory(shell, state.place);
  else render();
}

/** What the sheet's buttons do. */
export const historyActions = shell => ({
  'read-history': () => readHistory(shell, shell.state.place),
  'more-history': () => readHistory(shell, shell.state.place, STEP),
  'export-history': async () => {
    const { agent, profile } = shell.state.place;
    try {
      const { count, path } = await api.exportHistory(agent, profile);
      shell.tell(text.exported({ n: count, path }));
    } catch (thrown) {
      shell.fail(thrown);
    }
  },
});
