// The board: verdict, then every agent with its providers and accounts in the order of use.

import { text } from './texts.js';
import { breakable, button, clone, draw, fill, glyph, go, slot } from './dom.js';
import { key } from './key.js';
import { orderable } from './order.js';
import * as places from './places.js';
import { wayBack } from './snapshots.js';
import * as states from './states.js';
import { duration, exact, joined, moment, sentence } from './words.js';

/** From more accounts than these on they can be searched. */
const FEW = 20;

/** The sheet of all agents, or of the one called `only`; many accounts can be searched. */
export function board({ view, firstRun, busy, search }, now, only) {
  const { snapshot, summary } = view;
  const agents = snapshot.agents.filter(agent => !only || agent.id === only);
  const whole = wholeSheet(snapshot, summary, agents);
  if (whole) return whole;
  const many = agents.flatMap(agent => agent.providers).flatMap(provider => provider.accounts).length > FEW;
  const node = clone('t-board', {
    title: verdict(agents, snapshot, only ? null : snapshot.needsYou),
    lead: only ? null : lead(summary, agents, now),
    strips: strips(snapshot, summary, firstRun, now),
    nothing: null,
    agents: agents.map(agent => agentSection(agent, snapshot, now, busy)),
  });
  slot(node, 'search').hidden = !many;
  slot(node, 'search').querySelector('input').value = search;
  slot(node, 'add').href = places.add(only);
  slot(node, 'add').hidden = !states.writable(snapshot.installation);
  slot(node, 'foot').hidden = !states.kept(snapshot.installation) || !summary.total;
  return node;
}

/** What a search took off the board, and where it stood. */
let taken = [];

/** Puts it back. */
export function widen() {
  for (const [node, place, next] of taken.reverse()) place.insertBefore(node, next);
  taken = [];
}

/** Leaves on the board what all words of its search name. The rest is taken off: to hide it takes an engine longer. */
export function narrow(sheet) {
  widen();
  const field = sheet.querySelector('.search:not([hidden]) input');
  if (!field) return;
  const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
  const take = node => {
    taken.push([node, node.parentNode, node.nextSibling]);
    node.remove();
  };
  for (const account of sheet.querySelectorAll('.acct')) if (!words.every(word => account.dataset.named.includes(word))) take(account);
  if (words.length) for (const group of sheet.querySelectorAll('.provider, .agent')) if (!group.querySelector('.acct')) take(group);
  fill(slot(sheet, 'nothing'), sheet.querySelector('.acct') ? null : text.nothingFound({ words: field.value.trim() }));
}

/** Sheets with one thing to say. */
function wholeSheet(snapshot, summary, agents) {
  const { era, openclawVersion, openclawFound, stateDir } = snapshot.installation;
  if (summary.total > 0 || agents.some(agent => agent.storeError)) return null;
  if (era === 'mixed') {
    return clone('t-calm', { title: text.emptyTitle, lead: snapshot.notices.map(notice => `${sentence(notice.message)} ${notice.hint}`).join(' '), code: stateDir, verbs: [] });
  }
  const verbs = [
    go(text.signInTo({ provider: 'ChatGPT' }), places.signIn('openai', agents[0]?.id ?? 'main'), { main: true }),
    go(text.pasteToken, places.paste('anthropic', agents[0]?.id ?? 'main', { kind: 'token' })),
    go(text.addAccount, places.add(agents[0]?.id)),
  ];
  if (era === 'none' && !openclawFound) {
    return clone('t-calm', { title: text.notFoundTitle, lead: text.notFoundLead, code: text.lookedIn({ dir: stateDir }), verbs });
  }
  const agent = agents.find(agent => agent.isDefault)?.id ?? agents[0]?.id ?? 'main';
  return clone('t-calm', { title: text.emptyTitle, lead: emptyLead(era, openclawVersion, agent), code: null, verbs });
}

function emptyLead(era, version, agent) {
  if (era === 'sqlite') return version ? text.keptLeadRelease({ version }) : text.keptLead;
  return version ? text.emptyLeadRelease({ version, agent }) : text.emptyLead({ agent });
}

/** The first sentence: of everything, where core counted it, or of one agent. */
function verdict(agents, snapshot, counted) {
  const unreadable = agents.filter(agent => agent.storeError);
  const lost = agents.flatMap(agent => agent.providers).flatMap(provider => provider.accounts).filter(states.needsYou);
  const needy = counted ?? unreadable.length + lost.length;
  if (unreadable.length && unreadable.length === needy) return text.unreadableTitle({ agent: unreadable[0].id });
  if (needy) return text.needYou({ n: needy });
  const without = agents.flatMap(agent => agent.providers).find(provider => provider.reason.code === 'none-usable');
  if (without) return text.noneReady({ provider: without.name });
  return watched(snapshot) ? text.allThere : text.inOrder;
}

/** What OpenClaw cannot read either; of other files it may make more than Kalit does. */
const forAll = ['store.unparsable', 'store.wrong_shape', 'store.corrupt'];

function lead(summary, agents, now) {
  const torn = agents.find(agent => agent.storeError)?.storeError;
  if (torn && !summary.total) return [text.unreadableLead, forAll.includes(torn.code) && text.unreadableForAll].filter(Boolean).join(' ');
  const { ready, total, returning, nextRenewal } = summary;
  return [
    text.ready({ ready, n: total }),
    returning && text.returning({ n: returning }),
    nextRenewal && text.nextRenewal({ name: nextRenewal.name, at: moment(nextRenewal.at, now) }),
  ].filter(Boolean).join(' ');
}

/** Whether no login is kept alive now, though Kalit could. */
const watched = ({ installation, paused, attended, offlineSince }) => installation.era === 'json' && (paused || !attended || Boolean(offlineSince));

function strips(snapshot, summary, firstRun, now) {
  // Who keeps the logins stands above each agent's.
  const told = snapshot.notices.filter(notice => notice.code !== 'era.sqlite');
  const list = told.map(notice => strip('notice', 'g-shared', sentence(notice.message), notice.hint));
  const { era } = snapshot.installation;
  if (firstRun && era === 'json') {
    list.push(strip('', 'g-ok', firstTitle(snapshot.installation.openclawVersion, summary.total), text.firstHint, [
      button(text.firstKeep, { action: 'first-keep' }, { main: true }),
      button(text.firstWatch, { action: 'first-watch' }),
    ]));
  } else if (snapshot.paused && era !== 'sqlite') {
    list.push(strip('notice', 'g-off', text.pausedTitle, text.pausedHint, [button(text.resume, { action: 'resume' })]));
  }
  if (!snapshot.attended && !snapshot.paused && era === 'json') {
    list.push(strip('notice', 'g-off', text.unattendedTitle, text.unattendedHint, [button(text.startTray, { action: 'start-tray' })]));
  }
  if (snapshot.offlineSince !== null && snapshot.attended && !snapshot.paused && era === 'json') {
    list.push(strip('notice', 'g-off', text.offlineTitle({ at: exact(snapshot.offlineSince, now) }), text.offlineHint));
  }
  return list;
}

const firstTitle = (version, n) => version ? text.firstTitleRelease({ version, n }) : text.firstTitle({ n });

function strip(tone, shape, message, hint, verbs = [], code = null) {
  const node = clone('t-strip', { message, hint, code, verbs });
  if (tone) node.classList.add(tone);
  draw(node.querySelector('svg'), shape);
  return node;
}

function agentSection(agent, snapshot, now, busy) {
  const node = clone('t-agent', {
    name: agent.name ?? agent.id,
    glyph: states.kept(snapshot.installation) ? glyph('g-shelf') : null,
    line: agentLine(agent, snapshot),
    trouble: agent.storeError && strip('danger', 'g-torn', sentence(agent.storeError.message), agent.restore?.text ?? agent.storeError.hint,
      [agent.restore?.offered && go(text.restore, wayBack(agent.id, agent.restore), { main: true, name: agent.id }), button(text.checkAgain, { action: 'reload' })].filter(Boolean), agent.storeError.message.includes(agent.storePath) ? null : agent.storePath),
    providers: agent.providers.map(provider => providerSection(agent, provider, snapshot, now, busy)),
  });
  node.dataset.agent = agent.id;
  node.setAttribute('aria-label', agent.id);
  const sessions = slot(node, 'sessions');
  sessions.href = places.sessions(agent.id);
  sessions.dataset.focus = sessions.getAttribute('href');
  sessions.setAttribute('aria-label', `${text.sessions}: ${agent.id}`);
  sessions.hidden = snapshot.installation.era === 'none';
  if (!agent.providers.length && !agent.storeError) fill(slot(node, 'providers'), calmNote(text.noAccountInAgent));
  return node;
}

function agentLine(agent, { installation, paused, attended }) {
  if (agent.lock) return writing(agent.lock);
  const version = installation.openclawVersion;
  if (states.kept(installation)) return version ? text.keptByRelease({ version }) : text.keptByOpenClaw;
  const keeper = paused || !attended || !states.writable(installation) ? text.onlyWatched : text.keptByKalit;
  return version ? `${text.release({ version })} ${keeper}` : keeper;
}

function writing({ program, pid }) {
  // A number of a process is a name: without the language's marks for thousands.
  const name = pid && String(pid);
  if (program) return name ? text.writingProgramProcess({ program, pid: name }) : text.writingProgram({ program });
  return name ? text.writingProcess({ pid: name }) : text.writing;
}

function providerSection(agent, provider, snapshot, now, busy) {
  const writable = states.writable(snapshot.installation);
  const options = { now, busy, writable, managed: states.kept(snapshot.installation) };
  const rotating = provider.orderSource === 'rotation' && provider.candidates.length > 1;
  const node = clone('t-provider', {
    mark: provider.mark,
    name: provider.name,
    count: rotating ? text.rotating({ n: provider.accounts.length }) : text.accounts({ n: provider.accounts.length }),
    rail: provider.accounts.map((account, at) => row(agent, provider, account, at, options)),
    notes: providerNotes(agent, provider),
  });
  const add = slot(node, 'add');
  add.href = places.signIn(provider.id, agent.id);
  add.dataset.focus = add.getAttribute('href');
  add.setAttribute('aria-label', `${text.add}: ${provider.name}`);
  add.hidden = !writable;
  const order = slot(node, 'order');
  order.href = places.order(agent.id, provider.id);
  order.dataset.focus = order.getAttribute('href');
  order.setAttribute('aria-label', `${text.order}: ${provider.name}`);
  order.hidden = !writable || orderable(provider).length < 2;
  slot(node, 'rail').setAttribute('aria-label', text.orderOfUse({ provider: provider.name, agent: agent.id }));
  node.dataset.provider = provider.id;
  return node;
}

function providerNotes(agent, provider) {
  const notes = [];
  if (['none-usable', 'cooldown'].includes(provider.reason.code)) {
    const model = provider.reason.fallbackModel;
    notes.push(clone('t-group-note', { text: [sentence(provider.reason.text), model && text.goesOnWith({ model })].filter(Boolean).join(' ') }));
  }
  for (const account of provider.accounts) {
    const pins = agent.pins.filter(pin => pin.profileId === account.profileId).length;
    if (pins) notes.push(calmNote(text.pinned({ name: account.name, n: pins })));
  }
  return notes;
}

function calmNote(words) {
  const node = clone('t-group-note', { text: words });
  node.classList.add('calm-note');
  return node;
}

function row(agent, provider, account, at, { now, busy, writable, managed }) {
  const working = busy.get(`${agent.id} ${account.profileId}`);
  const node = clone('t-account', {
    number: String(at + 1),
    name: breakable(account.name),
    using: account.inUse ? text.inUse : account.effective && !states.gone(account) ? text.next : null,
    plan: account.plan ?? (account.kind === 'oauth' ? null : text.kinds[account.kind]),
    left: left(account, now),
    key: key(account, now),
    note: note(provider, account, now),
    verb: writable ? verb(agent, account, { working: Boolean(working), managed }) : null,
  });
  const named = [agent.id, agent.name, provider.id, provider.name, account.profileId, account.email, account.plan];
  Object.assign(node.dataset, { agent: agent.id, profile: account.profileId, state: account.state, named: named.filter(Boolean).join(' ').toLowerCase() });
  if (account.inUse) node.setAttribute('aria-current', 'true');
  else slot(node, 'using').classList.add('next');
  // Who merely rests keeps its turn; who is passed over has lost it.
  node.classList.toggle('away', Boolean(account.lost || (account.passedOver && account.state !== 'cooling-down')));
  const time = node.querySelector('.time');
  time.classList.toggle('gone', Boolean(account.lost));
  if (account.renewal && !account.lost) time.title = account.renewal;
  const name = slot(node, 'name');
  name.href = places.account(agent.id, account.profileId);
  name.dataset.focus = name.getAttribute('href');
  states.show(slot(node, 'state'), account, now, working);
  return node;
}

/** The time column: what is left, or since when nothing is. */
export function left(account, now) {
  if (account.lost) return text.since({ at: moment(account.lost.at, now) });
  if (account.expiresAt === null) return text.noEnd;
  return account.expiresAt > now ? duration(account.expiresAt - now) : text.since({ at: moment(account.expiresAt, now) });
}

/** Who renews a login is said of one that ends within this time; its own sheet always says it. */
const SOON = 60 * 60_000;

/** One sentence where there is something to say. */
function note(provider, account, now) {
  const said = [];
  const restore = account.restore?.text;
  const soon = account.expiresAt !== null && account.expiresAt > now && account.expiresAt - now < SOON;
  if (account.sentence) said.push(sentence(account.sentence));
  else if (account.lost) said.push(sentence(account.lost.text));
  else if (account.state === 'shared') said.push(text.sharedNote({ others: joined(account.sharedWith), n: account.sharedWith.length }));
  else if (account.lastError) said.push(sentence(account.lastError.message), account.lastError.hint);
  // That the first in the order is used needs no word.
  else if (account.inUse && provider.accounts[0] !== account && provider.orderSource !== 'rotation') said.push(sentence(provider.reason.text));
  if (restore && !account.sentence?.includes(restore)) said.push(sentence(restore));
  if (account.renewal && soon && account.state === 'healthy') said.push(account.renewal);
  if (account.inherited) said.push(text.inheritedFrom);
  return said.filter(Boolean).join(' ');
}

/** The one thing worth doing with an account from here; all others are in its own sheet. */
export function verb(agent, account, { working, managed }) {
  const data = { agent: agent.id, profile: account.profileId };
  const main = { main: true, name: account.name };
  if (account.state === 'shared' && !account.inherited) return go(text.separate, again(agent, account), { name: account.name });
  let node = null;
  if (account.restore?.offered) return go(text.restore, wayBack(agent.id, account.restore, account.profileId), main);
  // What OpenClaw renews itself cannot be tried from here.
  const unsure = ['refused', 'suspected', 'not-renewed'].includes(account.state);
  if (states.gone(account) || (unsure && managed)) {
    return go(account.kind === 'oauth' ? text.signInAgain : text.pasteAgain, again(agent, account), main);
  }
  if (account.state === 'refused' || account.state === 'suspected') node = button(text.checkNow, { action: 'renew', ...data }, main);
  else if (account.state === 'not-renewed') node = button(text.renewNow, { action: 'renew', ...data }, main);
  else if (states.clearable(account, managed)) node = button(text.clear, { action: 'clear-cooldown', ...data }, { name: account.name });
  else if (account.inUse || !states.usable(account)) return null;
  else if (account.inherited) node = button(text.useInMain, { action: 'use-in-main', ...data }, { name: account.name });
  else node = button(rotates(agent, account) ? text.alwaysUse : text.use, { action: 'use', ...data }, { name: account.name });
  node.disabled = working;
  return node;
}

/** Whether using this account ends that several take turns. */
export const rotates = (agent, account) => agent.providers.some(({ accounts, orderSource, candidates }) =>
  orderSource === 'rotation' && candidates.length > 1 && accounts.includes(account));

/** Where an account is signed in to, or pasted, once more. */
export function again(agent, account) {
  if (account.kind === 'oauth' || account.kind === 'unknown') return places.signIn(account.provider, agent.id, account.profileId);
  const kind = account.kind === 'token' ? 'token' : 'api-key';
  return places.paste(account.provider, agent.id, { profile: account.profileId, kind });
}
