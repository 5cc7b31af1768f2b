// The keys of the window, beside Tab and Enter, which the engine keeps. `docs/keyboard.md` lists them.

import * as api from './api.js';
import { text } from './texts.js';
import { isOpen } from './dialog.js';
import { moveByKey } from './order.js';
import * as places from './places.js';
import * as states from './states.js';

/** What each key does with Control (Command on macOS); whether it did something. */
const withControl = {
  n: () => open(places.add()),
  f: () => {
    const field = document.getElementById('search');
    if (!field?.offsetParent) return false;
    field.focus();
    return true;
  },
  ',': () => open(places.settings),
  r: shell => !kept(shell.state) && renewAll(shell),
  z: ({ actions }) => {
    const undo = document.querySelector('.toast:not([hidden]) [data-action=undo]:not([hidden])');
    if (undo) actions.undo();
    return Boolean(undo);
  },
  // The account in whose row the focus is, is used.
  Enter: (_, row) => press(row?.querySelector('[data-action=use], [data-action=use-in-main]')),
};

/** Does what a key asks for; whether it did. */
export function byKey(shell, event) {
  const { key, target, altKey, ctrlKey, metaKey } = event;
  if (isOpen()) return false;
  const row = target.closest?.('.acct');
  const typing = target.matches('input, textarea, select');
  // In a field they belong to what is typed.
  if (ctrlKey || metaKey) return typing && key !== 'n' && key !== ',' ? false : withControl[key]?.(shell, row) ?? false;
  if (key === 'Escape' && shell.state.place.view !== 'board') return open(places.board);
  if (altKey && key === 'ArrowLeft') return history.back() ?? true;
  if (key === 'Delete' && row && !typing && states.writable(shell.state.view.snapshot.installation)) return remove(shell, row.dataset);
  return moveByKey(shell, event) || step(shell, event);
}

function open(place) {
  location.hash = place;
  return true;
}

function press(button) {
  if (!button || button.disabled) return false;
  button.click();
  return true;
}

function remove({ actions, find }, { agent, profile }) {
  const { one } = find({ agent, profile });
  // What main's store holds is removed there.
  if (!one || one.inherited) return false;
  actions.remove(null, { agent, profile });
  return true;
}

/** Up and down go from name to name; whether they did. */
function step({ sheet }, { key, altKey }) {
  const names = [...sheet.querySelectorAll('.acct .name a')];
  const at = names.indexOf(document.activeElement);
  if (at < 0 || altKey || !['ArrowDown', 'ArrowUp'].includes(key)) return false;
  names[at + (key === 'ArrowDown' ? 1 : -1)]?.focus();
  return true;
}

const kept = ({ view }) => Boolean(view) && states.kept(view.snapshot.installation);

function renewAll({ tell, fail, reload }) {
  api.refreshAll()
    .then(outcomes => tell(outcomes.length ? text.renewedAll({ n: outcomes.length }) : text.nothingToRenew), fail)
    .then(reload);
  return true;
}
