// Signing in through OpenClaw's own login: it runs in the program, in a terminal that nobody sees;
// here are its address, its codes, its questions and what it says. An answer is taken out of its
// field before it is sent.

import { text } from './texts.js';
import { button, clone, fill, glyph, slot } from './dom.js';
import * as api from './api.js';
import { copy } from './clipboard.js';
import { SignIn, again, bigCode, outcome, pending, signedInAs, step } from './sign-in.js';
import { sentence } from './words.js';

/** Lines of OpenClaw's that are kept on the sheet. */
const LINES = 6;

/** One sign-in that OpenClaw runs. */
export class OpenClawSignIn extends SignIn {
  constructor(place, provider, name) {
    super(place, provider, name);
    Object.assign(this, { browser: null, url: null, code: null, ask: null, answered: 0, said: [] });
  }

  /** Starts it in the program; the steps come as events. */
  async start(changed) {
    const { provider, agent, profile, code } = this.place;
    try {
      await api.openclawLoginStart({ attempt: this.attempt, provider, agent, profile, deviceCode: Boolean(code), useNow: false });
      if (this.phase === 'starting') this.phase = 'waiting';
    } catch (thrown) {
      this.fail(api.problem(thrown));
    }
    changed();
  }

  /** Follows a step of OpenClaw's; whether it was one of this sign-in. */
  step({ attempt, step }) {
    if (attempt !== this.attempt || !this.running) return false;
    if (step.kind === 'url') Object.assign(this, { url: step.url, browser: 'opening' });
    else if (step.kind === 'device-code') Object.assign(this, { code: step.code, url: step.url ?? this.url });
    else if (step.kind === 'ask') this.ask = step;
    else if (step.kind === 'said') this.said = [...this.said, step.line].slice(-LINES);
    this.phase = 'waiting';
    return true;
  }

  /** Answers the question that is open; an error keeps it open. */
  async answer(call) {
    const { ask } = this;
    this.ask = null;
    this.answered += 1;
    try {
      await call(ask.ask);
      return null;
    } catch (thrown) {
      // Another question may have come meanwhile.
      if (!this.ask) Object.assign(this, { ask, answered: this.answered - 1 });
      return api.problem(thrown);
    }
  }
}

/** The sheet of such a sign-in. */
export function openclawSignIn(state) {
  const node = clone('t-openclaw-sign-in', {
    title: state.name ? text.signInAgainTitle({ name: state.name }) : text.signInTitle({ provider: state.provider }),
    lead: text.openclawLead({ agent: state.place.agent }),
    outcome: null,
    question: null,
  });
  refreshOpenclaw(node, state);
  return node;
}

/** Brings an open sheet up to date without touching what is typed. */
export function refreshOpenclaw(node, state) {
  fill(slot(node, 'steps'), steps(state));
  fill(slot(node, 'said'), state.said.map(line => Object.assign(document.createElement('li'), { textContent: line })));
  slot(node, 'saidTitle').hidden = !state.said.length;
  const place = slot(node, 'question');
  const asked = state.running && state.ask ? String(state.ask.ask) : '';
  if (place.dataset.ask !== asked) {
    place.dataset.ask = asked;
    fill(place, asked ? question(state.ask) : null);
    const field = place.querySelector('input:not([type=radio]), input:checked, .btn.main');
    if (field && (document.activeElement === document.body || node.contains(document.activeElement) || document.activeElement?.id === 'sheet')) field.focus({ preventScroll: true });
  }
  slot(node, 'cancelling').hidden = !state.running || Boolean(place.querySelector('[data-action=cancel-sign-in]'));
  fill(slot(node, 'outcome'), state.running ? null : outcome(state));
}

function steps(state) {
  const { phase, browser, url, code: digits, ask, answered, problem } = state;
  const begun = Boolean(url || digits || ask || answered || state.said.length);
  const over = phase === 'done' || phase === 'failed';
  const list = [begun || phase === 'done' ? step('done', 1, text.openclawStarted) : step(phase === 'failed' ? 'warn' : 'now', 1, text.openclawStarting, text.openclawStartingSub)];
  if (digits) list.push(step(over ? 'done' : 'now', list.length + 1, text.codeTitle, text.codeSub, over ? [] : bigCode(digits)));
  if (url) {
    const failed = browser === 'failed';
    list.push(step(failed && !over ? 'warn' : over || browser === 'opened' ? 'done' : 'now', list.length + 1,
      failed ? text.stepBrowserFailed : browser === 'opening' ? text.stepBrowserOpening : digits && browser === null ? text.stepPage : text.stepBrowser,
      over ? null : failed ? text.stepBrowserFailedSub : text.stepBrowserSub, over ? [] : again(failed)));
  }
  if (ask && state.running) list.push(step('now', list.length + 1, text.openclawAsks));
  else if (begun && state.running) list.push(step('now', list.length + 1, answered ? text.openclawWorks : text.openclawWaits));
  list.push(last(state, list.length + 1, problem));
  // Several wait at once; the last of them is where it stands.
  for (const node of list.filter(node => node.classList.contains('now')).slice(0, -1)) pending(node);
  return list;
}

function last({ phase, signedIn }, number, problem) {
  if (phase === 'done') return step('done', number, signedInAs(signedIn));
  if (phase === 'failed') return step('warn', number, text.failed, `${sentence(problem.message)} ${problem.hint}`.trim());
  return step('todo', number, text.openclawSaves);
}

/** A question of OpenClaw's as a form. */
function question({ ask, question: words, what, choices }) {
  if (what === 'confirm') {
    const [yes, no] = choices.length === 2 ? choices : [text.yes, text.no];
    return clone('t-ask-confirm', {
      question: words,
      verbs: [button(no, { action: 'answer-choice', ask, choice: 1 }), button(yes, { action: 'answer-choice', ask, choice: 0 }, { main: true })],
    });
  }
  if (what === 'choice') {
    const node = clone('t-ask-choice', { question: words, choices: choices.map(option) });
    node.querySelector('input').checked = true;
    return node;
  }
  const node = clone('t-ask-text', { question: words, error: null, help: what === 'secret' ? text.secretAnswerHelp : null });
  const field = node.querySelector('input');
  // An empty text takes what OpenClaw offers; an empty secret is a slip.
  const secret = what === 'secret';
  if (secret) field.type = 'password';
  slot(node, 'show').hidden = !secret;
  slot(node, 'continue').disabled = secret;
  field.addEventListener('input', () => {
    slot(node, 'continue').disabled = secret && !field.value.trim();
    complain(node, null);
  });
  return node;
}

function option(words, at) {
  const node = clone('t-ask-option', { words });
  node.querySelector('input').value = String(at);
  return node;
}

function complain(node, problem) {
  const place = slot(node, 'error');
  const words = problem && `${sentence(problem.message)} ${problem.hint}`.trim();
  fill(place, words ? [glyph('g-off'), Object.assign(document.createElement('span'), { textContent: words })] : null);
  node.querySelector('input')?.setAttribute('aria-invalid', String(Boolean(words)));
}

/** What the sheet's buttons do. */
export const openclawActions = ({ state, followSignIn, fail }) => ({
  'copy-code': (_, { code: digits }, pressed) => copy(digits, pressed),
  'answer-choice': async (_, { choice }) => {
    const running = state.signIn;
    if (!running?.ask) return;
    const answered = running.answer(ask => api.loginChoose(ask, Number(choice)));
    followSignIn();
    const problem = await answered;
    if (problem) fail(problem);
    followSignIn();
  },
});

/** What the forms of its questions do. */
export const openclawForms = ({ state, followSignIn, fail }) => ({
  'answer-text': async form => {
    const running = state.signIn;
    if (!running?.ask) return;
    const field = form.querySelector('input');
    const answered = running.answer(ask => api.loginAnswer(ask, field.value.trim()));
    field.value = '';
    followSignIn();
    const problem = await answered;
    followSignIn();
    const open = document.querySelector('form[data-action=answer-text]');
    if (problem && open) complain(open, problem);
    else if (problem) fail(problem);
  },
  'answer-option': async form => {
    const running = state.signIn;
    const chosen = form.querySelector('input:checked');
    if (!running?.ask || !chosen) return;
    const answered = running.answer(ask => api.loginChoose(ask, Number(chosen.value)));
    followSignIn();
    const problem = await answered;
    if (problem) fail(problem);
    followSignIn();
  },
});
