// The sealed snapshots: which there are, what putting one back would do now, and doing it. Nothing is
// changed before a person has read that here.

import { text } from './texts.js';
import { breakable, button, clone, code, draw, glyph, go, slot } from './dom.js';
import * as api from './api.js';
import * as places from './places.js';
import { exact, joined, sentence } from './words.js';

const looks = {
  'put-back': ['g-check', 'is-ok'],
  'newest-instead': ['g-check', 'is-ok'],
  kept: ['g-ok', ''],
  refused: ['g-out', 'is-danger'],
};
const comes = ({ verdict }) => verdict === 'put-back' || verdict === 'newest-instead';

/** Where what is lost is put back: from a snapshot, or from the copy of a login that OpenClaw dropped. */
export const wayBack = (agentId, restore, profile) => restore.snapshot ? places.snapshot(restore.snapshot, agentId, profile) : places.restore(agentId, profile);

/** The sheet of all snapshots. */
export function snapshotsSheet({ snapshots }, now) {
  const { list, problem } = snapshots ?? {};
  return clone('t-snapshots', {
    lead: problem ? `${sentence(problem.message)} ${problem.hint}`.trim() : !list ? text.snapshotsReading : list.length ? text.snapshotsLead : text.noSnapshots,
    snapshots: (list ?? []).map((info, at) => row(info, now, at === list.findIndex(other => other.missing))),
  });
}

/** `main`: the newest one that holds something that is missing. */
function row({ id, at, reason, agents, profiles, missing }, now, main) {
  const node = clone('t-snapshot', {
    name: at === null ? id : exact(at, now),
    reason: reason === null ? text.notIndexed : text.snapshotReasons[reason] ?? reason,
    content: profiles ? text.snapshotContent({ n: profiles, agents: joined(agents) }) : null,
    missing: missing ? [glyph('g-dropped'), words(text.missingNow({ n: missing }))] : null,
    verbs: go(text.look, places.snapshot(id), { main, name: at === null ? id : exact(at, now) }),
  });
  node.dataset.snapshot = id;
  return node;
}

/** The sheet of one snapshot, in whichever phase it is. */
export function snapshotSheet({ chosen }, now) {
  const { phase, preview, restored, problem } = chosen;
  const acts = verbs(chosen);
  const asks = phase === 'asked' && preview.offered;
  const node = clone('t-put-back', {
    title: title(chosen, now),
    lead: lead(chosen),
    busy: phase === 'looking' || phase === 'working' ? [glyph('g-renew', true), words(text.snapshotBusy[phase])] : null,
    warning: asks && preview.notes.length ? strip(preview.notes, acts) : null,
    acts: asks && preview.notes.length ? null : acts,
    stores: phase === 'asked' ? preview.stores.map(one => store(chosen, one, now)) : phase === 'done' ? [doneList(restored)] : null,
    notes: phase === 'done' && restored.notes.length ? restored.notes.map(sentence).join(' ') : null,
  });
  if (problem) slot(node, 'lead').setAttribute('role', 'alert');
  return node;
}

function title({ phase, preview, profile, problem }, now) {
  const name = profile && profile.slice(profile.indexOf(':') + 1);
  if (phase === 'asked') {
    const at = exact(preview.at, now);
    if (!preview.offered) return text.nothingBack({ at });
    return name ? text.putBackOne({ name, at }) : text.putBackAll({ at });
  }
  if (phase === 'done') return name ? text.oneBack({ name }) : text.allBack;
  if (!problem) return text.snapshotTitle;
  return name ? text.oneNotBack({ name }) : text.allNotBack;
}

function lead({ phase, preview, problem }) {
  if (problem) return `${sentence(problem.message)} ${problem.hint}`.trim();
  if (phase === 'asked') return preview.offered ? text.putBackLead : text.nothingBackLead;
  return null;
}

function strip(notes, acts) {
  const [message, ...others] = notes.map(sentence);
  const node = clone('t-strip', { message, hint: others.join(' '), code: null, verbs: acts });
  node.classList.add('notice');
  draw(node.querySelector('svg'), 'g-shared');
  return node;
}

function store(chosen, { agent, path, problem, profiles, orders }, now) {
  return clone('t-put-back-store', {
    agent,
    // What is wrong names the file itself.
    path: problem ? null : code(path),
    problem: problem && sentence(problem.message),
    profiles: profiles.map(profile => profileRow(chosen, agent, profile, now)),
    orders: orders.length ? text.ordersBack({ providers: joined(orders) }) : null,
  });
}

function profileRow(chosen, agent, profile, now) {
  const { profileId, kind, expiresAt, verdict } = profile;
  const several = chosen.preview.stores.flatMap(store => store.profiles).filter(comes).length > 1;
  const [shape, tone] = looks[verdict] ?? ['g-none', ''];
  const end = expiresAt !== null && exact(expiresAt, now);
  const node = clone('t-put-back-profile', {
    name: breakable(profileId),
    kind: [text.kinds[kind], end && (expiresAt > now ? text.endsAt({ at: end }) : text.endedAt({ at: end }))].filter(Boolean).join(' · '),
    state: [glyph(shape), words(text.verdicts[verdict] ?? verdict)],
    verbs: several && comes(profile) && !chosen.profile && !chosen.broken ? go(text.onlyThis, places.snapshot(chosen.id, agent, profileId), { name: profileId }) : null,
    text: sentence(profile.text),
  });
  node.dataset.profile = profileId;
  if (tone) slot(node, 'state').classList.add(tone);
  return node;
}

function doneList({ restored }) {
  const list = document.createElement('ul');
  list.className = 'known';
  list.append(...restored.map(({ agent, profileId }) => Object.assign(document.createElement('li'), { textContent: text.backIn({ profile: profileId, agent }) })));
  return list;
}

function verbs({ phase, preview, problem }) {
  if (phase === 'looking' || phase === 'working') return [];
  if (phase === 'asked' && preview.offered) return [button(text.putBack, { action: 'put-back-snapshot' }, { main: true }), go(text.cancel, places.snapshots)];
  if (problem) return [button(text.lookAgain, { action: 'look-at-snapshot' }, { main: true }), go(text.allSnapshots, places.snapshots)];
  return phase === 'asked' ? [go(text.allSnapshots, places.snapshots, { main: true })] : [go(text.done, places.board, { main: true })];
}

const words = said => Object.assign(document.createElement('span'), { textContent: said });

/** Reads which snapshots there are. */
export async function readSnapshots({ state, render }) {
  const read = { list: state.snapshots?.list ?? null };
  state.snapshots = read;
  render();
  try {
    read.list = await api.snapshots();
  } catch (thrown) {
    read.problem = api.problem(thrown);
  }
  if (state.snapshots === read) render();
}

/** Looks what putting back would do; nothing is changed. */
export async function lookAt({ state, render }, { id, agent, profile }) {
  const chosen = { id, agent, profile, phase: 'looking' };
  state.chosen = chosen;
  render();
  try {
    const preview = await api.snapshotPreview({ id, agent, profile });
    Object.assign(chosen, { preview, broken: preview.stores.some(store => store.problem), phase: 'asked' });
  } catch (thrown) {
    Object.assign(chosen, { problem: api.problem(thrown), phase: 'refused' });
  }
  if (state.chosen === chosen) render();
}

/** What the sheet's buttons do. */
export const snapshotActions = shell => ({
  'look-at-snapshot': () => lookAt(shell, shell.state.chosen),
  'put-back-snapshot': async () => {
    const { state, render, reload, tell } = shell;
    const running = state.chosen;
    if (running?.phase !== 'asked') return;
    running.phase = 'working';
    render();
    const { id, agent, profile } = running;
    try {
      Object.assign(running, { restored: await api.restoreSnapshot({ id, agent, profile }), phase: 'done' });
    } catch (thrown) {
      Object.assign(running, { problem: api.problem(thrown), phase: 'failed' });
    }
    if (state.chosen === running) render();
    else tell(running.problem ? sentence(running.problem.message) : text.allBack);
    await reload();
  },
});
