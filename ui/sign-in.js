// Signing in with Kalit's own flow: a rail of four steps, with the paste box open from the first
// second, or with the code that is entered on the provider's page. The sign-in itself runs in the program; this sheet follows it by its attempt number.

import { text } from './texts.js';
import { button, clone, code, draw, fill, glyph, go, slot } from './dom.js';
import * as api from './api.js';
import * as places from './places.js';
import { sentence } from './words.js';

const LIMIT = 5 * 60_000;
let attempts = 0;

/** One sign-in as the window sees it. */
export class SignIn {
  constructor(place, provider, name, byCode = false) {
    Object.assign(this, { place, provider, name, byCode, attempt: ++attempts, phase: 'starting', browser: 'opening', problem: null, limit: LIMIT });
    this.began = Date.now();
  }

  /** Starts it in the program; the browser opens by itself. */
  async start(changed) {
    const { provider, agent, profile } = this.place;
    try {
      const started = await api.signInStart({ attempt: this.attempt, provider, agent, profile, useNow: false });
      this.url = started.authorizeUrl;
      this.portNotice = started.portNotice;
      if (started.code) Object.assign(this, { byCode: true, code: started.code.code, limit: started.code.lifetimeMs, began: Date.now() });
      if (this.phase === 'starting') this.phase = 'waiting';
    } catch (thrown) {
      this.fail(api.problem(thrown));
    }
    changed();
  }

  /** Follows an event of the program; whether it was about this sign-in. */
  follow(event) {
    if (event.attempt !== this.attempt) return false;
    if (event.state === 'browser-opened') this.browser = 'opened';
    else if (event.state === 'browser-failed') this.browser = 'failed';
    else if (event.state === 'failed') this.fail(event.problem);
    else if (event.state === 'done') Object.assign(this, { phase: 'done', signedIn: event.signed_in });
    return true;
  }

  fail(problem) {
    Object.assign(this, { phase: problem.code === 'login.cancelled' ? 'cancelled' : 'failed', problem });
  }

  get running() {
    return this.phase === 'starting' || this.phase === 'waiting' || this.phase === 'saving';
  }

  /** The port in the address that the provider sends the browser back to. */
  get port() {
    try {
      const { searchParams } = new URL(this.url);
      return new URL(searchParams.get('redirect_uri') ?? searchParams.get('callback_url')).port || null;
    } catch {
      return null;
    }
  }

  /** "4:32" until the sign-in gives up. */
  clock(now) {
    const left = Math.max(0, Math.ceil((this.limit - (now - this.began)) / 1000));
    return `${Math.floor(left / 60)}:${String(left % 60).padStart(2, '0')}`;
  }
}

/** The sheet of a sign-in. */
export function signIn(state) {
  const node = clone('t-sign-in', {
    title: state.name ? text.signInAgainTitle({ name: state.name }) : text.signInTitle({ provider: state.provider }),
    lead: text.signInLead({ agent: state.place.agent }),
    pasteTitle: text.orPaste,
    pasteHelp: text.orPasteHelp,
    error: null,
    continue: text.continue,
    outcome: null,
  });
  const field = node.querySelector('textarea');
  field.addEventListener('input', () => {
    slot(node, 'continue').disabled = !field.value.trim();
    complain(node, null);
  });
  refresh(node, state);
  return node;
}

/** Brings an open sheet up to date without touching what is typed. */
export function refresh(node, state) {
  fill(slot(node, 'steps'), state.byCode ? codeSteps(state) : steps(state));
  const open = state.phase === 'starting' || state.phase === 'waiting';
  slot(node, 'paste').hidden = !open || state.byCode;
  // Nobody listens: only the address is left.
  const byHand = Boolean(state.portNotice);
  fill(slot(node, 'pasteTitle'), byHand ? text.pasteHere : text.orPaste);
  fill(slot(node, 'pasteHelp'), byHand ? text.pasteHereHelp : text.orPasteHelp);
  const cancel = () => clone('t-outcome', { text: null, verbs: [button(text.cancel, { action: 'cancel-sign-in' })] });
  fill(slot(node, 'outcome'), !open ? outcome(state) : state.byCode ? cancel() : null);
}

/** Moves the clock; says once when a minute is left. */
export function tick(node, state, announce) {
  const clock = node.querySelector('.clock');
  if (!clock) return;
  const words = state.clock(Date.now());
  if (words === '1:00' && clock.textContent !== words) announce(text.oneMinute);
  clock.textContent = words;
}

function steps(state) {
  const { phase, browser, portNotice, problem } = state;
  const started = phase !== 'starting' && Boolean(state.url);
  const beyond = phase === 'saving' || phase === 'done' || problem?.code === 'profile.identity_mismatch';
  const ready = portNotice ? step('warn', 1, sentence(portNotice))
    : started ? step('done', 1, text.stepReady, state.port ? text.stepReadyPort({ port: state.port }) : text.stepReadySub)
      : step(state.running ? 'now' : 'warn', 1, text.stepStarting);
  // Of a sign-in that failed on its way only what was done is left, and why.
  const broken = phase === 'failed' && !beyond;
  if (broken) return [ready, started && browser === 'opened' && step('done', 2, text.stepBrowser), lastStep(state)].filter(Boolean);
  const opened = !started ? step('todo', 2, text.stepBrowser)
    : browser === 'failed' ? step('warn', 2, text.stepBrowserFailed, text.stepBrowserFailedSub, again(true))
      : step(browser === 'opened' || beyond ? 'done' : 'now', 2, browser === 'opened' || beyond ? text.stepBrowser : text.stepBrowserOpening,
        phase === 'waiting' ? text.stepBrowserSub : null, phase === 'waiting' ? again(false) : []);
  const waiting = phase === 'waiting' && browser !== 'opening' ? step('now', 3, text.stepWaiting, null, clock(state))
    : step(beyond ? 'done' : 'todo', 3, text.stepWaiting);
  return [ready, opened, waiting, lastStep(state)];
}

/** The steps where a code is entered: it and its page stay in view until it is over. */
function codeSteps(state) {
  const { phase, browser, problem } = state;
  if (!state.code) return [step(state.running ? 'now' : 'warn', 1, text.codeAsking), ...(phase === 'failed' ? [lastStep(state)] : [])];
  const over = !state.running, failed = browser === 'failed';
  const beyond = phase === 'done' || problem?.code === 'profile.identity_mismatch';
  const opened = failed ? step('warn', 2, text.stepBrowserFailed, over ? null : text.stepBrowserFailedSub, over ? [] : again(true))
    : step('done', 2, browser === 'opening' ? text.stepBrowserOpening : text.stepBrowser, over ? null : text.stepBrowserSub, over ? [] : again(false));
  const entered = over && !beyond ? [] : [step(over ? 'done' : 'now', 3, text.stepWaiting, null, over ? [] : clock(state))];
  return [step('done', 1, text.codeTitle, text.codeSub, over ? [] : bigCode(state.code)), opened, ...entered, lastStep(state)];
}

function lastStep({ phase, problem, signedIn }) {
  if (phase === 'saving') return step('now', 4, text.stepSaving);
  if (phase === 'done') return step('done', 4, signedInAs(signedIn));
  if (phase === 'failed') {
    const wrong = problem.code === 'profile.identity_mismatch';
    return step('warn', 4, wrong ? text.wrongPerson : text.failed, `${sentence(problem.message)} ${wrong ? '' : problem.hint}`.trim());
  }
  return step('todo', 4, text.stepSave);
}

/** One step on the rail. */
export function step(look, number, title, sub = null, end = []) {
  const mark = { done: 'm-check', warn: 'm-warn' }[look];
  const inside = mark ? clone('t-mini') : String(number);
  if (mark) draw(inside, mark);
  const node = clone('t-step', { inside, title, sub, end });
  node.classList.add(look);
  if (look === 'now') node.setAttribute('aria-current', 'step');
  return node;
}

/** Turns a step that waits as well into one that is not where the sign-in stands. */
export function pending(node) {
  node.classList.remove('now');
  node.removeAttribute('aria-current');
}

export const again = main => [button(text.openAgain, { action: 'open-again' }), button(text.copyLink, { action: 'copy-link' }, { main })];

/** A code to be read and typed elsewhere. */
export function bigCode(digits) {
  const node = code(digits);
  node.className = 'big-code';
  return [node, button(text.copyCode, { action: 'copy-code', code: digits })];
}

function clock(state) {
  const node = document.createElement('span');
  node.className = 'clock';
  node.setAttribute('role', 'timer');
  node.textContent = state.clock(Date.now());
  return node;
}

/** What can be done when it has ended. */
export function outcome(state) {
  const { place, signedIn, problem } = state;
  if (state.phase === 'saving') return null;
  const back = go(state.phase === 'done' ? text.done : text.cancel, places.board, { main: state.phase === 'done' && !signedIn.offersUse });
  if (state.phase === 'done') {
    const use = signedIn.offersUse && button(text.useNow, { action: 'use-now', agent: signedIn.agent, profile: signedIn.profileId }, { main: true });
    return clone('t-outcome', { text: signedIn.replaced ? text.replacedText : text.addedText, verbs: [back, use].filter(Boolean) });
  }
  const restart = words => button(words, { action: 'restart-sign-in' }, { main: true });
  if (problem?.code === 'profile.identity_mismatch') {
    const fresh = go(text.signInNew, places.signIn(place.provider, place.agent));
    return clone('t-outcome', { text: text.wrongPersonText({ name: state.name ?? '' }), verbs: [back, fresh, restart(text.signInAs({ name: state.name ?? place.provider }))] });
  }
  return clone('t-outcome', { text: text.nothingSaved, verbs: [back, restart(text.startAgain)] });
}

/** "Signed in as mary@example.com · Team". */
export function signedInAs(signedIn) {
  const name = accountName(signedIn), { plan } = signedIn;
  return plan ? text.stepSavedPlan({ name, plan }) : text.stepSaved({ name });
}

/** The account's name part of a profile id. */
export const accountName = ({ profileId }) => profileId.slice(profileId.indexOf(':') + 1);

/** Sends what was pasted; an error keeps the field and says why under it. */
export async function paste(node, state, changed) {
  const field = node.querySelector('textarea');
  const call = api.signInPaste(field.value.trim());
  field.value = '';
  slot(node, 'continue').disabled = true;
  try {
    await call;
    if (state.running) state.phase = 'saving';
    changed();
  } catch (thrown) {
    const { message, hint } = api.problem(thrown);
    complain(node, `${sentence(message)} ${hint}`);
    field.focus();
  }
}

function complain(node, words) {
  const place = slot(node, 'error');
  fill(place, words ? [glyph('g-off'), Object.assign(document.createElement('span'), { textContent: words })] : null);
  node.querySelector('textarea').setAttribute('aria-invalid', String(Boolean(words)));
}
