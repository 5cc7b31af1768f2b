// How each state of an account looks: shape, tone, word. Later ones are worse, as in core.

import { text } from './texts.js';
import { glyph } from './dom.js';
import { duration } from './words.js';

const looks = {
  healthy: ['g-ok', ''],
  static: ['g-fixed', ''],
  renewing: ['g-renew', 'is-busy'],
  expired: ['g-expired', ''],
  'cooling-down': ['g-rest', 'is-notice'],
  disabled: ['g-off', 'is-notice'],
  'needs-doctor': ['g-shelf', 'is-notice'],
  missing: ['g-none', 'is-notice'],
  unknown: ['g-none', 'is-notice'],
  shared: ['g-shared', 'is-notice'],
  'not-renewed': ['g-expired', 'is-danger'],
  vanished: ['g-dropped', 'is-danger'],
  suspected: ['g-dropped', 'is-danger'],
  refused: ['g-dropped', 'is-danger'],
  dropped: ['g-dropped', 'is-danger'],
  'signed-out': ['g-out', 'is-danger'],
};
const order = Object.keys(looks);

/** The state's word: "Resting 3 min". */
export function word(account, now) {
  const { state, cooldown } = account;
  if (state === 'cooling-down' && cooldown && cooldown.until > now) return text.resting({ left: duration(cooldown.until - now) });
  if (state === 'disabled' && cooldown?.reason === 'billing') return text.noCredit;
  return text.states[state] ?? state;
}

/** Fills the state cell of a row: shape and word, in the state's tone. */
export function show(cell, account, now, busy) {
  const [shape, tone] = busy ? ['g-renew', 'is-busy'] : looks[account.state] ?? ['g-none', 'is-notice'];
  const words = document.createElement('span');
  words.textContent = busy ?? word(account, now);
  if (tone) cell.classList.add(tone);
  cell.replaceChildren(glyph(shape, shape === 'g-renew'), words);
}

/** The worst state of an agent as shape, tone and word, or null when nothing is the matter. */
export function worst(agent) {
  if (agent.storeError) return { shape: 'g-torn', tone: 'is-danger', word: text.unreadable };
  const states = agent.providers.flatMap(provider => provider.accounts).map(account => account.state);
  const state = states.sort((a, b) => order.indexOf(b) - order.indexOf(a))[0];
  const [shape, tone] = looks[state] ?? [];
  return tone && tone !== 'is-busy' ? { shape, tone, word: text.states[state] } : null;
}

/** Whether accounts can be changed from here: not while both kinds of store lie there. */
export const writable = ({ era }) => era === 'json' || era === 'sqlite';

/** Whether OpenClaw keeps and renews the logins itself: every change is asked of it and takes seconds. */
export const kept = ({ era }) => era === 'sqlite';

/** States in which the account can be chosen for use. */
export const usable = account => ['healthy', 'static', 'renewing', 'expired', 'shared', 'cooling-down', 'unknown'].includes(account.state);

/** Whether OpenClaw leaves the account alone and can be told to use it: not where it keeps that itself, nor through an agent that only reads it. */
export const clearable = (account, managed) => ['cooling-down', 'disabled'].includes(account.state) && !managed && !account.inherited;

/** States that only a sign-in, or a new secret, ends. */
export const gone = account => ['signed-out', 'dropped', 'vanished', 'missing'].includes(account.state);

/** States that need the person now. */
export const needsYou = account => looks[account.state]?.[1] === 'is-danger';
