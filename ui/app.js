// The window: keeps the last view, draws the place that the address names, and turns presses into
// commands. What a row can do is decided by its renderer and named in data-action.

import { text } from './texts.js';
import { button, clone, fill, fixed, glyph } from './dom.js';
import * as api from './api.js';
import { account, readWhy } from './account.js';
import { add, reveal, save, secret } from './add.js';
import { board, narrow, widen } from './board.js';
import { copy } from './clipboard.js';
import { diagnose, diagnosticsActions, diagnosticsSheet } from './diagnostics.js';
import { ask } from './dialog.js';
import { everywhereActions } from './everywhere.js';
import { radarActions, radarSheet, readRadar } from './radar.js';
import { historyActions, historySheet, readHistory, seek } from './history.js';
import { byKey } from './keys.js';
import { morph } from './morph.js';
import { OpenClawSignIn, openclawActions, openclawForms, openclawSignIn, refreshOpenclaw } from './openclaw-login.js';
import { orderActions, orderSheet } from './order.js';
import { newAgentForms, newAgentSheet } from './new-agent.js';
import * as places from './places.js';
import { removeActions } from './remove.js';
import { oneOwnerActions } from './one-owner.js';
import { look, restoreActions, restoreSheet } from './restore.js';
import { pin, readSessions, sessionActions, sessionsSheet } from './sessions.js';
import { readSettings, saveControl, settingActions, settingsSheet, showChosen } from './settings.js';
import { SignIn, accountName, paste, refresh, signIn, signedInAs, tick } from './sign-in.js';
import { lookAt, readSnapshots, snapshotActions, snapshotSheet, snapshotsSheet } from './snapshots.js';
import * as states from './states.js';
import { testActions, testedSheet } from './test-logins.js';
import { joined, sentence, time, untilChange } from './words.js';

const sheet = document.getElementById('sheet');
const toast = document.getElementById('toast');
const state = {
  view: null, problem: null, providers: [], logins: [], busy: new Map(), firstRun: false,
  signIn: null, starting: null, restore: null, snapshots: null, chosen: null, sessions: null, test: null, diagnosis: null, order: null, settings: null, history: null, sought: { words: '', group: 'all' }, why: null, radar: null, search: '', place: places.parse(location.hash),
};
let redraw, hideToast, undo, counted;

// Drawing ------------------------------------------------------------------

function render() {
  clearTimeout(redraw);
  const now = Date.now();
  index();
  if (state.place.view === 'sign-in' && state.signIn) return followSignIn();
  // A form keeps what is typed while views come in.
  if (['paste', 'add', 'new-agent'].includes(state.place.view) && sheet.dataset.place === location.hash && sheet.querySelector('form')) return;
  show(content(now));
  if (state.place.view === 'settings') showChosen(sheet, state);
  // Of a thousand times one changes every moment: drawing them takes a fiftieth of it at most.
  if (state.view) redraw = setTimeout(() => outdated() ? reload() : render(), Math.max(nextChange(now), 50 * (Date.now() - now)));
}

function content(now) {
  const { place } = state;
  if (state.problem && !state.view) return trouble(state.problem);
  if (!state.view) return clone('t-loading');
  if (place.view === 'add') return add(state, place);
  if (place.view === 'paste') return secret(state, place);
  if (['account', 'copy'].includes(place.view)) return account(state, now, place) ?? board(state, now);
  if (place.view === 'restore' && state.restore) return restoreSheet(state, now);
  if (place.view === 'snapshots') return snapshotsSheet(state, now);
  if (place.view === 'snapshot' && state.chosen) return snapshotSheet(state, now);
  if (['restore', 'snapshot', 'sign-in'].includes(place.view)) return clone('t-loading');
  if (place.view === 'sessions') return sessionsSheet(state, now, place);
  if (place.view === 'tested') return testedSheet(state);
  if (place.view === 'new-agent') return newAgentSheet(state);
  if (place.view === 'order') return orderSheet(state, now, place) ?? board(state, now);
  if (place.view === 'diagnostics') return diagnosticsSheet(state);
  if (place.view === 'history') return historySheet(state, now, place);
  if (place.view === 'radar') return radarSheet(state);
  if (place.view === 'settings') return settingsSheet(state, now);
  return board(state, now, place.view === 'agent' ? place.agent : undefined);
}

/** Draws the sheet: another place anew, the same one in place. The focus stays where it was. */
function show(node) {
  const focused = sheet.contains(document.activeElement) ? document.activeElement.dataset.focus : null;
  const moved = sheet.dataset.place !== location.hash;
  sheet.dataset.place = location.hash;
  widen();
  if (moved || !sheet.firstElementChild) sheet.replaceChildren(node);
  else morph(sheet.firstElementChild, node);
  narrow(sheet);
  if (moved) {
    scrollTo(0, 0);
    if (focused !== null) sheet.focus({ preventScroll: true });
  } else if (focused && document.activeElement?.dataset.focus !== focused) {
    sheet.querySelector(`[data-focus="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  }
}

function trouble({ message, hint, code }) {
  return clone('t-calm', {
    title: text.problemTitle, lead: `${sentence(message)} ${hint}`, code,
    verbs: [button(text.tryAgain, { action: 'reload' }, { main: true })],
  });
}

/** When credentials and cooldowns end. */
const ends = () => state.view.snapshot.agents.flatMap(agent => agent.providers).flatMap(provider => provider.accounts)
  .flatMap(one => [one.expiresAt, one.cooldown?.until ?? null]).filter(at => at !== null);

/** Milliseconds until a time on the sheet reads differently. */
const nextChange = now => Math.min(60_000, ...ends().filter(at => at > now).map(at => untilChange(at - now)));

/** Whether an end was reached since the snapshot was taken: the states may be others by now. */
const outdated = () => ends().some(at => at > state.view.snapshot.at && at <= Date.now());

function index() {
  const { view, place } = state;
  const nav = document.querySelector('.index'), fresh = nav.cloneNode(true);
  const part = id => fresh.querySelector(`#${id}`);
  const all = link(text.allAccounts, places.board, view ? String(view.summary.total) : null, ['board', 'account', 'copy', 'order', 'restore', 'tested'].includes(place.view));
  const snapshots = link(text.snapshots, places.snapshots, null, ['snapshots', 'snapshot'].includes(place.view));
  const agents = view?.snapshot.agents ?? [];
  const { openclawFound = false } = view?.snapshot.installation ?? {};
  const several = agents.length > 1 || agents.some(agent => states.worst(agent)) || (openclawFound && view.summary.total > 0);
  const another = openclawFound && link(text.newAgent, places.newAgent, null, place.view === 'new-agent');
  fill(part('index-all'), view && (view.summary.total || several) ? [all, snapshots] : null);
  part('index-title').hidden = !several;
  fill(part('index-agents'), several ? [...agents.map(agent => agentLink(agent, place)), another].filter(Boolean) : null);
  const diagnostics = link(text.diagnostics, places.diagnostics, null, place.view === 'diagnostics');
  const history = link(text.history, places.history(), null, place.view === 'history');
  const radar = link(text.radar, places.radar, null, place.view === 'radar');
  fill(part('index-own'), [history, radar, diagnostics, link(text.settings, places.settings, null, place.view === 'settings')]);
  fill(part('foot'), view && foot(view.snapshot));
  morph(nav, fresh);
}

function link(name, href, end, current) {
  const node = clone('t-index-link', { name, end });
  const anchor = node.querySelector('a');
  anchor.href = href;
  if (current) anchor.setAttribute('aria-current', 'page');
  return node;
}

function agentLink(agent, place) {
  const worst = states.worst(agent);
  let end = null;
  if (worst) {
    const word = Object.assign(document.createElement('span'), { className: 'hidden', textContent: worst.word });
    end = Object.assign(document.createElement('span'), { className: worst.tone });
    end.append(glyph(worst.shape), word);
  }
  return link(agent.id, places.agent(agent.id), end, ['agent', 'sessions'].includes(place.view) && place.agent === agent.id);
}

function foot({ installation, paused, attended, at }) {
  const read = time(at);
  if (installation.era !== 'json') return text.footKept({ at: read });
  return paused || !attended ? text.footPaused({ at: read }) : text.footRenewing({ at: read });
}

// Views and announcements ---------------------------------------------------

function receive(view) {
  announceChanges(state.view, view);
  state.view = view;
  state.problem = null;
  render();
  // One of Kalit's other programs may have changed them.
  if (state.place.view === 'settings') readSettings(shell);
  if (state.place.view === 'history') readHistory(shell, state.place);
  if (state.place.view === 'radar') readRadar(shell);
  if (state.place.view === 'account') readWhy(shell, state.place);
}

async function reload() {
  try {
    receive(await api.snapshot());
  } catch (thrown) {
    state.problem = api.problem(thrown);
    if (state.view) say(state.problem.message, true);
    render();
  }
}

function announceChanges(before, after) {
  if (!before) return;
  const all = view => view.snapshot.agents.flatMap(agent => agent.providers.flatMap(provider => provider.accounts.map(one => [`${agent.id} ${one.profileId}`, one])));
  const old = new Map(all(before).map(([id, one]) => [id, one.state]));
  for (const [id, one] of all(after)) {
    if (old.has(id) && old.get(id) !== one.state) say(text.changed({ name: one.name, state: states.word(one, Date.now()) }), states.needsYou(one));
  }
}

/** Says something to those who listen to the screen. */
function say(words, urgent = false) {
  document.getElementById(urgent ? 'urgent' : 'polite').textContent = words;
}

function tell(words, takeBack = null) {
  clearTimeout(hideToast);
  undo = takeBack;
  toast.querySelector('span').textContent = words;
  toast.querySelector('button').hidden = !takeBack;
  toast.hidden = false;
  hideToast = setTimeout(function later() {
    if (toast.matches(':hover, :focus-within')) hideToast = setTimeout(later, 1500);
    else toast.hidden = true;
  }, 6000);
}

const fail = thrown => {
  const { message, hint } = api.problem(thrown);
  tell(`${sentence(message)} ${hint}`.trim());
};

// Actions -------------------------------------------------------------------

function find({ agent: agentId, profile }) {
  const agent = state.view.snapshot.agents.find(agent => agent.id === agentId);
  for (const provider of agent?.providers ?? []) {
    const one = provider.accounts.find(one => one.profileId === profile);
    if (one) return { agent, provider, one };
  }
  return {};
}

/** Runs a command on an account; its row says meanwhile what runs. */
async function work(target, words, command) {
  const id = `${target.agent} ${target.profile}`;
  state.busy.set(id, words);
  render();
  try {
    return await command();
  } catch (thrown) {
    fail(thrown);
    return null;
  } finally {
    state.busy.delete(id);
    await reload();
  }
}

/** What a row says while it changes: OpenClaw takes seconds for what Kalit does at once. */
const changing = words => kept() ? text.askingOpenClaw : words;

async function activate(target, takesBack = true) {
  const { provider, one } = find(target);
  const before = provider?.accounts.find(other => other.inUse);
  const done = await work(target, changing(text.switching), () => api.activate(target.agent, target.profile));
  if (!done) return;
  const used = done.effective ? find({ agent: target.agent, profile: done.effective }).one?.name ?? accountName({ profileId: done.effective }) : one?.name ?? target.profile;
  const words = [text.nowUses({ agent: target.agent, name: used, provider: provider?.name ?? done.provider }), ...(done.notes ?? [])].join(' ');
  const back = takesBack && before && before.profileId !== target.profile;
  tell(words, back ? () => activate({ agent: target.agent, profile: before.profileId }, false) : null);
}

const actions = {
  'reload': reload,
  'skip': event => { event.preventDefault(); sheet.focus(); },
  'undo': () => { toast.hidden = true; undo?.(); },
  'use': (_, data) => activate(data),
  'use-now': async (_, data) => { location.hash = places.board; await activate(data); },
  'use-in-main': async (_, data) => {
    const { provider, one } = find(data);
    const agents = state.view.snapshot.agents
      .filter(agent => agent.providers.some(other => other.id === provider.id && other.accounts.some(each => each.inherited)))
      .map(agent => agent.id);
    const words = text.mainText({ agents: joined(agents), n: agents.length });
    if (await ask(text.mainTitle({ name: one.name }), words, text.mainGo)) activate({ agent: 'main', profile: data.profile });
  },
  'clear-cooldown': async (_, data) => {
    const { one } = find(data);
    if (await work(data, text.clearing, () => api.clearCooldown(data.agent, data.profile))) tell(text.cleared({ name: one.name }));
  },
  'renew': async (_, data) => {
    const { one } = find(data);
    const outcomes = await work(data, text.states.renewing, () => api.refresh(data.agent, data.profile));
    const outcome = outcomes?.[0];
    if (outcome?.error) tell(`${sentence(outcome.error.message)} ${outcome.error.hint}`);
    else if (outcome) tell(text.refreshResults[outcome.result]({ name: one.name }));
    else if (outcomes) tell(text.nothingToRenew);
  },
  'first-keep': () => { state.firstRun = false; render(); },
  'first-watch': () => { state.firstRun = false; pause(true); },
  'resume': () => pause(false),
  'start-tray': startTray,
  'reveal': (_, __, pressed) => reveal(pressed),
  'open-again': () => api.openLink().catch(fail),
  'copy-link': (_, __, pressed) => copy(state.signIn.url, pressed),
  'cancel-sign-in': () => { location.hash = places.board; },
  'restart-sign-in': () => startSignIn(),
};

const forms = {
  'paste-address': form => paste(form.closest('.view'), state.signIn, followSignIn),
  'paste-other': form => { location.hash = places.paste(form.elements['add-other'].value.trim().toLowerCase(), state.place.agent, { kind: 'api-key' }); },
  'save-secret': async form => {
    const saved = await save(form.closest('.view'), state.place, changing(text.saving));
    if (!saved) return;
    // It may have taken seconds: whoever has gone elsewhere stays there.
    if (sheet.contains(form)) location.hash = places.board;
    tell(text.saved({ name: accountName(saved) }));
    await reload();
  },
};

/** Starts Kalit in the tray; the next view says whether it renews. */
async function startTray() {
  try {
    await api.startTray();
    setTimeout(reload, 1500);
  } catch (thrown) {
    fail(thrown);
  }
}

async function pause(paused) {
  try {
    await api.setPaused(paused);
  } catch (thrown) {
    fail(thrown);
  }
  await reload();
}

// Signing in ----------------------------------------------------------------

/** What is known of a provider: by its id, or by the name under which an older id is shown. */
function providerOf(place) {
  const shown = state.view?.snapshot.agents.flatMap(agent => agent.providers).find(provider => provider.id === place.provider);
  const login = state.logins.find(one => one.provider === place.provider);
  return state.providers.find(one => one.id === place.provider) ?? (login && { name: login.name, flow: 'openclaw' }) ?? state.providers.find(one => one.name === shown?.name) ?? { name: shown?.name ?? place.provider, flow: 'pkce' };
}

/** Starts the sign-in that the address names, in the way that there is for its provider here. */
async function startSignIn() {
  const { place } = state;
  if (state.starting === place) return;
  state.starting = place;
  let route;
  try {
    route = await api.loginRoute(place.provider);
    if (route === 'open-claw' && !state.logins.length) state.logins = await api.openclawLogins();
  } catch (thrown) {
    fail(thrown);
    location.hash = places.board;
    return;
  } finally {
    state.starting = null;
  }
  if (state.place !== place) return;
  const provider = providerOf(place);
  if (route === 'paste' || route === 'none') {
    const kind = provider.flow === 'token' ? 'token' : 'api-key';
    location.replace(places.paste(place.provider, place.agent, { profile: place.profile, kind }));
    return;
  }
  const name = place.profile && (find(place).one?.name ?? place.profile);
  const Way = route === 'open-claw' ? OpenClawSignIn : SignIn;
  state.signIn = new Way(place, provider.name, name, provider.flow === 'device');
  delete sheet.dataset.place;
  state.signIn.start(followSignIn);
  followSignIn();
}

function followSignIn() {
  const running = state.signIn;
  if (!running || state.place.view !== 'sign-in') return;
  const node = sheet.querySelector('.view');
  const [draw, update] = running instanceof OpenClawSignIn ? [openclawSignIn, refreshOpenclaw] : [signIn, refresh];
  if (sheet.dataset.place === location.hash && sheet.dataset.attempt === String(running.attempt)) update(node, running);
  else {
    show(draw(running));
    sheet.dataset.attempt = running.attempt;
  }
  if (running.phase === 'cancelled') location.hash = places.board;
  if (running.phase === 'done' && !running.told) {
    running.told = true;
    say(signedInAs(running.signedIn));
    reload();
    if (running.signedIn.offersUse) sheet.querySelector('[data-action=use-now]')?.focus();
    else setTimeout(() => { if (state.signIn === running) location.hash = places.board; }, 1200);
  }
}

setInterval(() => {
  if (state.signIn?.phase === 'waiting') tick(sheet, state.signIn, say);
}, 1000);

// Places --------------------------------------------------------------------

function arrive() {
  state.place = places.parse(location.hash);
  // What a toast said belongs to the sheet it was said on, and it must not cover a form.
  if (['add', 'paste', 'new-agent', 'sign-in'].includes(state.place.view)) toast.hidden = true;
  if (state.signIn && state.place.view !== 'sign-in') {
    if (state.signIn.running) api.signInCancel().catch(() => {});
    state.signIn = null;
  }
  if (state.place.view !== 'restore' || state.restore?.profile !== state.place.profile || state.restore.agent !== state.place.agent) state.restore = null;
  state.order = null;
  if (state.place.view !== 'snapshot' || ['id', 'agent', 'profile'].some(part => state.chosen?.[part] !== state.place[part])) state.chosen = null;
  if (state.place.view !== 'settings') state.settings = null;
  if (state.place.view !== 'radar') state.radar = null;
  if (state.view) begun(state.place);
  render();
}

/** What arriving at a place starts. */
function begun(place) {
  if (place.view === 'sign-in') startSignIn();
  else if (place.view === 'restore' && !state.restore) look(shell, place);
  else if (place.view === 'snapshots') readSnapshots(shell);
  else if (place.view === 'snapshot' && !state.chosen) lookAt(shell, place);
  else if (place.view === 'sessions' || place.view === 'account') {
    readSessions(shell, place.agent);
    if (place.view === 'account') readWhy(shell, place);
  }
  else if (place.view === 'copy') copyModel(place);
  else if (place.view === 'add') readLogins();
  else if (place.view === 'diagnostics') diagnose(shell);
  else if (place.view === 'settings') readSettings(shell);
  else if (place.view === 'history') readHistory(shell, place);
  else if (place.view === 'radar') readRadar(shell);
}

/** Copies the command for an account as its own button does, then stays with the account. Where that
    does not work the command is left selected. */
async function copyModel(place) {
  await readSessions(shell, place.agent);
  const pressed = state.place === place && sheet.querySelector('[data-action=copy-model]');
  if (!pressed) return;
  actions['copy-model'](null, pressed.dataset, pressed);
  pressed.scrollIntoView({ block: 'center' });
  if (!sheet.querySelector('textarea.link')) location.replace(places.account(place.agent, place.profile));
}

/** Learns what OpenClaw signs in itself; the choices are drawn again when that was news. */
async function readLogins() {
  const logins = await api.openclawLogins().catch(() => []);
  if (logins.length === state.logins.length) return;
  state.logins = logins;
  // In place: somebody may be about to press one of the choices, or types another one.
  if (state.place.view === 'add' && sheet.dataset.place === location.hash) show(content(Date.now()));
}

/** Goes where the program wants; asking for the running sign-in again changes nothing. */
async function goWhereWanted() {
  const route = await api.wantedRoute().catch(() => null);
  if (!route) return;
  const hash = `#/${route}`;
  if (hash !== location.hash) location.hash = hash;
  else if (state.place.view === 'copy' || (state.place.view === 'sign-in' && !state.signIn?.running)) arrive();
}

const shell = { state, sheet, actions, render, reload, say, tell, fail, find, work, changing, followSignIn };
Object.assign(actions, everywhereActions(shell), oneOwnerActions(shell), removeActions(shell), restoreActions(shell), sessionActions(shell), settingActions(shell), snapshotActions(shell), testActions(shell), diagnosticsActions(shell), historyActions(shell), radarActions(shell), orderActions(shell), openclawActions(shell));
Object.assign(forms, openclawForms(shell), newAgentForms(shell));

addEventListener('hashchange', arrive);
document.addEventListener('click', event => {
  const pressed = event.target.closest('[data-action]');
  if (pressed && pressed.localName !== 'form') actions[pressed.dataset.action]?.(event, { ...pressed.dataset }, pressed);
});
document.addEventListener('submit', event => {
  const act = forms[event.target.dataset.action];
  if (!act) return;
  event.preventDefault();
  act(event.target);
});
document.addEventListener('change', event => {
  if (event.target.id === 'add-agent') location.hash = places.add(event.target.value);
  else if (event.target.closest('[data-setting]')) saveControl(shell, event.target);
  else if (event.target.dataset.change === 'history-group') seek(shell, { group: event.target.value });
  else if (event.target.dataset.change === 'pin') pin(shell, event.target.dataset, event.target.value);
});
document.addEventListener('input', event => {
  if (event.target.id === 'history-search') seek(shell, { words: event.target.value });
  if (event.target.id !== 'search') return;
  state.search = event.target.value;
  narrow(sheet);
  clearTimeout(counted);
  if (state.search.trim()) counted = setTimeout(() => say(text.found({ n: sheet.querySelectorAll('.acct').length })), 500);
});
document.addEventListener('keydown', event => {
  if (byKey(shell, event)) event.preventDefault();
});

const kept = () => Boolean(state.view) && states.kept(state.view.snapshot.installation);

// Start ---------------------------------------------------------------------

async function begin() {
  fixed(document.body);
  render();
  await Promise.all([
    api.onView(receive),
    api.onSignIn(event => { if (state.signIn?.follow(event)) followSignIn(); }),
    api.onLoginStep(event => { if (state.signIn?.step?.(event)) followSignIn(); }),
    api.onRoute(goWhereWanted),
  ]);
  // What was asked for before this page listened.
  await goWhereWanted();
  try {
    state.providers = await api.providers();
  } catch {
    // The snapshot tells the same problem.
  }
  await reload();
  if (state.view && !state.signIn) begun(state.place);
  if (state.view?.summary.total) {
    state.firstRun = await api.firstRun().catch(() => false);
    if (state.firstRun) render();
  }
}

begin();
