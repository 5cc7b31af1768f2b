// "Test logins": OpenClaw is asked to use every login, which may renew, and so lose, those that are
// about to end. Only after a person has read that.

import { text } from './texts.js';
import { busyLine, clone, glyph, go } from './dom.js';
import * as api from './api.js';
import { ask, inform } from './dialog.js';
import * as places from './places.js';
import { sentence } from './words.js';

const looks = { renewed: ['g-check', 'is-ok'], unchanged: ['g-ok', ''], dropped: ['g-dropped', 'is-danger'] };

/** The sheet of the last test, or of the one that runs. */
export function testedSheet({ test, view }) {
  if (!test) return clone('t-tested', { title: text.notTested, lead: null, busy: null, logins: [], notes: null, acts: [go(text.done, places.board, { main: true })] });
  const { answer, problem } = test;
  const dropped = answer?.logins.filter(login => login.result === 'dropped').length ?? 0;
  const node = clone('t-tested', {
    title: problem ? text.testFailed : !answer ? text.testRunning : dropped ? text.testDropped({ n: dropped }) : passed(answer.logins.length),
    lead: problem ? `${sentence(problem.message)} ${problem.hint}`.trim() : answer && !answer.logins.length ? text.nothingTested : null,
    busy: answer || problem ? null : busyLine(text.testBusy),
    logins: answer?.logins.map(login => row(login, view)) ?? [],
    notes: answer?.notes.length ? answer.notes.map(sentence).join(' ') : null,
    acts: answer || problem ? [go(text.done, places.board, { main: true })] : [],
  });
  return node;
}

const passed = count => count > 1 ? text.testPassedAll : count ? text.testPassed : text.testPassedNone;

function row({ agent, profileId, result, text: words }, view) {
  const accounts = view?.snapshot.agents.find(one => one.id === agent)?.providers.flatMap(one => one.accounts);
  const account = accounts?.find(one => one.profileId === profileId);
  const [shape, tone] = looks[result] ?? ['g-none', ''];
  const node = clone('t-tested-login', {
    glyph: glyph(shape),
    name: account?.name ?? profileId,
    agent,
    result: text.testResults[result] ?? result,
    text: sentence(words),
    verbs: result === 'dropped' ? [account?.restore?.offered
      ? go(text.restore, places.restore(agent, profileId), { main: true, name: account.name })
      : go(text.details, places.account(agent, profileId), { name: account?.name ?? profileId })] : [],
  });
  node.dataset.result = result;
  if (tone) node.querySelector('.state').classList.add(tone);
  return node;
}

/** What the button does. */
export const testActions = ({ state, render, reload, tell }) => ({
  'test-logins': async (_, __, pressed) => {
    if (state.test && !state.test.answer && !state.test.problem) {
      location.hash = places.tested;
      return;
    }
    pressed.disabled = true;
    let offer;
    try {
      offer = await api.testLoginsOffer();
    } catch (thrown) {
      const { message, hint } = api.problem(thrown);
      offer = { offered: false, whyNot: `${sentence(message)} ${hint}` };
    } finally {
      pressed.disabled = false;
    }
    if (!offer.offered) return inform(text.testNotNow, [sentence(offer.whyNot)]);
    if (!await ask(text.testTitle, [sentence(offer.risk)], text.testGo)) return;
    const running = {};
    state.test = running;
    if (location.hash === places.tested) render();
    else location.hash = places.tested;
    try {
      running.answer = await api.testLogins();
    } catch (thrown) {
      running.problem = api.problem(thrown);
    }
    if (state.place.view === 'tested') render();
    else tell(running.problem ? sentence(running.problem.message) : text.tested({ n: running.answer.logins.length }));
    await reload();
  },
});
