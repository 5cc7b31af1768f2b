// The order in which the accounts of one provider are tried in one agent: moved by buttons or by
// Alt and the arrows, saved at once when asked. Until then nothing is changed.

import { text } from './texts.js';
import { busyLine, button, clone, go, slot } from './dom.js';
import * as api from './api.js';
import * as places from './places.js';
import * as states from './states.js';
import { sentence } from './words.js';

const find = (view, { agent, provider }) => view.snapshot.agents.find(one => one.id === agent)?.providers.find(one => one.id === provider);

/** The accounts that an order of this agent may name: neither those of main's store nor vanished ones. */
export const orderable = provider => provider.accounts.filter(one => !one.inherited && one.state !== 'vanished');

/** The sheet of an order, or null when its accounts are gone. */
export function orderSheet(state, now, place) {
  const provider = find(state.view, place);
  if (!provider) return null;
  const ids = wanted(state, provider);
  const { busy, problem } = state.order ?? {};
  const stored = provider.orderSource === 'stored';
  const moved = !stored || ids.join() !== orderable(provider).map(one => one.profileId).join();
  const node = clone('t-order', {
    back: text.backToPlace({ agent: place.agent, provider: provider.name }),
    title: text.orderTitle({ provider: provider.name, agent: place.agent }),
    lead: problem ? `${sentence(problem.message)} ${problem.hint}`.trim() : sentence(provider.reason.text),
    rail: ids.map((id, at) => row(provider, id, at, ids.length, now, Boolean(busy))),
    busy: busy ? busyLine(busy) : null,
    acts: [
      able(button(text.orderSave, { action: 'save-order' }, { main: true }), !busy && moved),
      stored && able(button(text.orderRotate, { action: 'clear-order' }), !busy),
      go(text.cancel, places.board),
    ].filter(Boolean),
  });
  if (problem) slot(node, 'lead').setAttribute('role', 'alert');
  slot(node, 'back').href = places.board;
  return node;
}

/** The order on the sheet: the one that was moved to, with what has come since at its end. */
function wanted(state, provider) {
  const there = orderable(provider).map(one => one.profileId);
  const chosen = state.order?.ids.filter(id => there.includes(id)) ?? [];
  return [...chosen, ...there.filter(id => !chosen.includes(id))];
}

function row(provider, id, at, count, now, busy) {
  const account = provider.accounts.find(one => one.profileId === id);
  const node = clone('t-ordered', { number: String(at + 1), name: account.name });
  states.show(slot(node, 'state'), account, now);
  node.dataset.profile = id;
  const verb = (word, label, by, fits) => {
    const press = able(button(word, { action: 'move', profile: id, by: String(by) }), fits && !busy);
    press.setAttribute('aria-label', label);
    return press;
  };
  slot(node, 'verbs').replaceChildren(verb('↑', text.orderUp({ name: account.name }), -1, at > 0), verb('↓', text.orderDown({ name: account.name }), 1, at < count - 1));
  return node;
}

function able(node, can) {
  node.disabled = !can;
  return node;
}

/** Moves an account by so many places; the focus goes with it. */
function move({ state, render, say }, profile, by) {
  const provider = find(state.view, state.place);
  if (!provider || state.order?.busy) return;
  const ids = wanted(state, provider);
  const from = ids.indexOf(profile), to = from + by;
  if (from < 0 || to < 0 || to >= ids.length) return;
  ids.splice(to, 0, ...ids.splice(from, 1));
  state.order = { ids };
  render();
  const buttons = [...document.querySelectorAll('[data-action=move]')].filter(one => one.dataset.profile === profile);
  (buttons.find(one => !one.disabled && one.dataset.by === String(by)) ?? buttons.find(one => !one.disabled))?.focus();
  const { name } = provider.accounts.find(one => one.profileId === profile);
  say(text.orderMoved({ name, place: to + 1, all: ids.length }));
}

/** Moves the account of the row in which the focus is; whether it did. */
export function moveByKey(shell, { target, altKey, key }) {
  const by = { ArrowUp: -1, ArrowDown: 1 }[key];
  const profile = target.closest?.('.ordered')?.dataset.profile;
  if (!altKey || !by || !profile) return false;
  move(shell, profile, by);
  return true;
}

async function change(shell, command, words) {
  const { state, render, reload, tell, changing } = shell;
  const { place } = state;
  const saving = { ids: wanted(state, find(state.view, place)), busy: changing(text.saving) };
  state.order = saving;
  render();
  try {
    const done = await command(place, saving.ids);
    if (state.order === saving) {
      state.order = null;
      location.hash = places.board;
    }
    tell([words(place), ...(done.notes ?? []).map(sentence)].join(' '));
  } catch (thrown) {
    if (state.order === saving) state.order = { ids: saving.ids, problem: api.problem(thrown) };
  }
  await reload();
}

/** What the sheet's buttons do. */
export const orderActions = shell => ({
  'move': (_, { profile, by }) => move(shell, profile, Number(by)),
  'save-order': () => change(shell, ({ agent, provider }, ids) => api.setOrder(agent, provider, ids), ({ agent }) => text.orderSaved({ agent })),
  'clear-order': () => change(shell, ({ agent, provider }) => api.clearOrder(agent, provider), ({ agent }) => text.orderCleared({ agent })),
});
