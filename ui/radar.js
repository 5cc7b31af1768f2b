// Which logins several programs hold, what will come of it, and the ways out. Nothing is changed here.

import { text } from './texts.js';
import { breakable, button, clone, code, glyph, go, slot } from './dom.js';
import * as api from './api.js';
import * as places from './places.js';
import { joined, sentence } from './words.js';

const looks = { clash: ['g-shared', 'is-danger'], risk: ['g-shared', 'is-notice'], note: ['g-ok', ''] };

/** The sheet of the radar, or of its looking. */
export function radarSheet({ radar }) {
  const { found, problem } = radar ?? {};
  const node = clone('t-radar', {
    lead: problem ? `${sentence(problem.message)} ${problem.hint}`.trim() : found ? verdict(found) : text.radarReading,
    findings: (found?.findings ?? []).map(finding),
    looked: found ? text.radarLooked({ logins: found.logins, places: found.places }) : null,
    unreadable: (found?.unreadable ?? []).map(({ path, reason }) => clone('t-radar-file', { path: [code(path)], reason: sentence(reason) })),
    unseen: found?.unseen.length ? text.radarUnseen({ programs: joined(found.unseen) }) : null,
    acts: [
      problem && button(text.lookAgain, { action: 'read-radar' }, { main: true }),
      found?.unseen.length && button(text.radarKeychain, { action: 'radar-keychain' }),
    ].filter(Boolean),
  });
  if (problem) slot(node, 'lead').setAttribute('role', 'alert');
  return node;
}

function verdict({ findings }) {
  const clashes = findings.filter(one => one.severity === 'clash').length;
  if (clashes) return text.radarClashes({ n: clashes });
  return findings.some(one => one.severity === 'risk') ? text.radarRisks : text.radarNone;
}

function finding({ kind, severity, title, text: what, signOut, places: held, ways, generation }) {
  const [shape, tone] = looks[severity];
  const node = clone('t-finding', {
    state: [glyph(shape), Object.assign(document.createElement('span'), { textContent: text.radarKinds[kind] })],
    title,
    what,
    signOut,
    places: held.map(({ name, path, older }) => clone('t-finding-place', { name: breakable(name), older: older ? text.radarOlder : null, path: [code(path)] })),
    ways: ways.map(way),
  });
  slot(node, 'state').classList.add(...[tone].filter(Boolean));
  Object.assign(node.dataset, { kind, generation });
  return node;
}

function way({ code: kind, text: words, account }) {
  const verb = kind === 'own-login' && account ? go(text.signInAgain, places.signIn(account.provider, account.agent, account.profileId), { main: true, name: account.profileId })
    : kind === 'one-owner' && account ? go(text.look, places.account(account.agent, account.profileId), { name: account.profileId }) : null;
  return clone('t-finding-way', { words, verb });
}

/** Looks anew; what a person had looked up in the keychain stays until the sheet is left. */
export async function readRadar({ state, render }, keychain = false) {
  const read = { ...state.radar, keychain };
  if (!keychain && state.radar?.keychain) return;
  state.radar = read;
  if (keychain) render();
  try {
    read.found = await api.radar(keychain);
    read.problem = null;
  } catch (thrown) {
    read.problem = api.problem(thrown);
  }
  if (state.radar === read) render();
}

/** What the sheet's buttons do. */
export const radarActions = shell => ({
  'read-radar': () => readRadar(shell),
  'radar-keychain': () => readRadar(shell, true),
});
