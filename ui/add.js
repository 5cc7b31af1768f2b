// The choice of a provider, and pasting a token or an API key.

import { text } from './texts.js';
import { button, clone, code, fill, go, slot } from './dom.js';
import * as api from './api.js';
import * as places from './places.js';
import * as states from './states.js';
import { sentence } from './words.js';

const SETUP_TOKEN = 'sk-ant-oat01-';
const SETUP_COMMAND = 'claude setup-token';
const SHORTEST = 8;

/** What a provider entry says of the ways in. */
const help = { pkce: text.choicePkce, device: text.choiceDevice, token: text.choiceToken, 'api-key': text.choiceKey };

/** The sheet that asks where the new account is. */
export function add({ view, providers, logins }, place) {
  const agents = view?.snapshot.agents.map(agent => agent.id) ?? [];
  const node = clone('t-add', {
    choices: providers.map((provider, at) => clone('t-choice', {
      mark: provider.mark,
      name: provider.name,
      help: help[provider.flow] ?? provider.note ?? null,
      verbs: provider.note ? [] : ways(provider, place.agent, at === 0),
    })),
    openclaw: openclawChoices(providers, logins, place.agent),
  });
  slot(node, 'openclawTitle').hidden = slot(node, 'openclaw').hidden;
  const select = node.querySelector('#add-agent');
  select.append(...agents.map(id => new Option(id, id, false, id === place.agent)));
  fill(slot(node, 'for'), agents.length > 1 ? [...slot(node, 'for').childNodes] : null);
  return node;
}

/** What OpenClaw and its plugins sign in themselves and Kalit has no way of its own for. */
function openclawChoices(providers, logins, agent) {
  const known = new Set(providers.filter(provider => provider.flow !== 'none').map(provider => provider.id));
  return logins.filter(login => !known.has(login.provider)).map(login => clone('t-choice', {
    mark: login.mark,
    name: login.name,
    help: login.methods.length > 1 ? login.methods.join(', ') : null,
    verbs: [
      go(text.signIn, places.signIn(login.provider, agent), { name: login.name }),
      login.deviceCode && go(text.withCode, places.signIn(login.provider, agent, null, { code: true }), { name: login.name }),
    ].filter(Boolean),
  }));
}

function ways(provider, agent, main) {
  const key = go(text.pasteKey, places.paste(provider.id, agent, { kind: 'api-key' }), { name: provider.name });
  const named = { main, name: provider.name };
  if (provider.flow === 'token') return [go(text.pasteToken, places.paste(provider.id, agent, { kind: 'token' }), named), key];
  if (provider.flow === 'api-key') return [go(text.pasteKey, places.paste(provider.id, agent, { kind: 'api-key' }), named)];
  return [go(text.signIn, places.signIn(provider.id, agent), named), key];
}

/** The sheet that takes a secret. What is pasted stays in its field until it is saved. */
export function secret({ providers, view }, place) {
  const provider = providers.find(one => one.id === place.provider);
  const name = provider?.name ?? place.provider;
  const kind = place.kind ?? (provider?.flow === 'token' ? 'token' : 'api-key');
  const accountName = place.profile && nameOf(view, place);
  const node = clone('t-secret', {
    title: accountName ? text.secretAgainTitle({ name: accountName }) : title(name, kind),
    lead: view && states.kept(view.snapshot.installation) ? text.secretLeadKept({ agent: place.agent }) : text.secretLead({ agent: place.agent }),
    tokenHelp: place.provider === 'anthropic' ? text.setupTokenHelp : text.tokenHelp,
    error: null,
    save: text.save,
    commandLine: [code(SETUP_COMMAND), button(text.copyCode, { action: 'copy-code', code: SETUP_COMMAND }, { name: SETUP_COMMAND })],
  });
  const command = () => { slot(node, 'command').hidden = place.provider !== 'anthropic' || chosen(node) !== 'token'; };
  node.querySelector(`input[value="${kind}"]`).checked = true;
  const retitle = () => {
    if (!accountName) fill(slot(node, 'title'), title(name, chosen(node)));
    command();
    check(node, place);
  };
  command();
  node.addEventListener('change', event => event.target.name === 'kind' && retitle());
  node.querySelector('#secret').addEventListener('input', () => check(node, place));
  return node;
}

function nameOf(view, place) {
  const accounts = view?.snapshot.agents.find(agent => agent.id === place.agent)?.providers.flatMap(one => one.accounts);
  return accounts?.find(account => account.profileId === place.profile)?.name ?? place.profile;
}

const title = (provider, kind) => kind === 'token' ? text.secretTokenTitle({ provider }) : text.secretKeyTitle({ provider });

const chosen = node => node.querySelector('input[name=kind]:checked').value;

/** Says as it is typed what cannot be right; the program checks the same again. */
function check(node, place) {
  const value = node.querySelector('#secret').value.trim();
  const wrong = !value ? null
    : /\s/.test(value) ? text.hasSpaces
      : chosen(node) === 'token' && place.provider === 'anthropic' && !SETUP_TOKEN.startsWith(value.slice(0, SETUP_TOKEN.length)) ? text.tokenPrefix({ prefix: SETUP_TOKEN })
        : null;
  complain(node, wrong);
  slot(node, 'save').disabled = Boolean(wrong) || value.length < SHORTEST;
}

function complain(node, words) {
  fill(slot(node, 'error'), words);
  node.querySelector('#secret').setAttribute('aria-invalid', String(Boolean(words)));
}

/** Saves what is in the field and clears the field before the call is made. */
export async function save(node, place, busy) {
  const field = node.querySelector('#secret'), button = slot(node, 'save');
  const days = node.querySelector('#days').valueAsNumber;
  const target = {
    agent: place.agent, provider: place.provider, profile: place.profile, kind: chosen(node),
    expiresInDays: Number.isInteger(days) && days > 0 ? days : null,
  };
  button.disabled = true;
  button.textContent = busy;
  const call = api.pasteSecret(target, field.value.trim());
  field.value = '';
  try {
    return await call;
  } catch (thrown) {
    const { message, hint } = api.problem(thrown);
    complain(node, `${sentence(message)} ${hint}`.trim());
    field.focus();
    return null;
  } finally {
    button.textContent = text.save;
  }
}

/** Shows or hides what is in the field. */
export function reveal(button) {
  const field = button.parentElement.querySelector('input');
  const show = field.type === 'password';
  field.type = show ? 'text' : 'password';
  button.textContent = show ? text.hide : text.show;
  button.setAttribute('aria-pressed', String(show));
}
