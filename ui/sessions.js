// The sessions of one agent: which account each is pinned to, and pinning another one.

import { text } from './texts.js';
import { busyLine, button, clone, code, slot } from './dom.js';
import * as api from './api.js';
import { copy } from './clipboard.js';
import * as places from './places.js';
import { moment, sentence } from './words.js';

/** The sheet of an agent's sessions. */
export function sessionsSheet({ sessions, view }, now, place) {
  const agent = view.snapshot.agents.find(one => one.id === place.agent);
  const shown = sessions?.agent === place.agent ? sessions : null;
  const list = shown?.list?.sessions ?? [];
  const node = clone('t-sessions', {
    title: text.sessionsTitle({ agent: place.agent }),
    lead: shown?.problem ? `${sentence(shown.problem.message)} ${shown.problem.hint}`.trim()
      : !shown?.list ? text.sessionsReading
        : list.length ? text.sessionsLead : text.noSessions,
    why: shown?.list && !shown.list.canPin && list.length ? sentence(shown.list.whyNot) : null,
    sessions: list.map(session => row(session, agent, shown, now)),
  });
  slot(node, 'back').href = places.agent(place.agent);
  return node;
}

function row(session, agent, { list, busy }, now) {
  const accounts = choices(agent, session);
  const working = busy === session.session;
  const choosable = list.canPin && accounts.length > 0;
  const pinned = session.profileId && (accounts.find(one => one.profileId === session.profileId)?.name ?? session.profileId);
  const node = clone('t-session', {
    name: session.label ?? session.session,
    id: session.label ? code(session.session) : null,
    model: [session.model && modelName(session), session.updatedAt && text.lastActive({ at: moment(session.updatedAt, now) })].filter(Boolean).join(' · '),
    // What can be chosen shows the pin itself.
    pin: working ? busyLine(text.askingOpenClaw)
      : !pinned ? !choosable && text.notPinned
        : session.source === 'auto' ? text.pinnedByOpenClaw({ name: pinned }) : !choosable && text.pinnedTo({ name: pinned }),
    verbs: [
      choosable ? pinning(session, agent, accounts, Boolean(busy)) : null,
      button(text.copyModel, { action: 'copy-model', command: modelCommand(session, session.profileId ?? inTurn(agent, session)) }, { name: session.label ?? session.session }),
    ].filter(Boolean),
  });
  node.dataset.session = session.session;
  slot(node, 'pin').classList.toggle('using', Boolean(pinned) && !working);
  slot(node, 'pin').classList.toggle('is-busy', working);
  return node;
}

/** The accounts that a session can be pinned to: those of the provider it uses, else all. */
function choices(agent, session) {
  const groups = agent?.providers ?? [];
  const own = groups.filter(group => group.id === session.provider);
  return (own.length ? own : groups).flatMap(group => group.accounts);
}

const inTurn = (agent, session) => agent?.providers.find(group => group.id === session.provider)?.effective ?? choices(agent, session)[0]?.profileId ?? null;

function pinning(session, agent, accounts, disabled) {
  const select = document.createElement('select');
  select.append(new Option(text.noPin, '', !session.profileId, !session.profileId));
  for (const one of accounts) {
    const chosen = one.profileId === session.profileId;
    select.append(new Option(one.name, one.profileId, chosen, chosen));
  }
  select.disabled = disabled;
  Object.assign(select.dataset, { change: 'pin', agent: agent.id, session: session.session, focus: `pin ${session.session}` });
  select.setAttribute('aria-label', text.pinLabel({ session: session.label ?? session.session }));
  return select;
}

const modelName = ({ provider, model }) => !provider || model.startsWith(`${provider}/`) ? model : `${provider}/${model}`;

/** What to type in a session of OpenClaw to use `profile` in it. */
export function modelCommand(session, profile) {
  const model = session?.model ? modelName(session) : `${session?.provider ?? profile?.split(':')[0] ?? 'provider'}/${text.aModel}`;
  return `/model ${model}${profile ? `@${profile}` : ''}`;
}

/** The command for an account of an agent, with a model that one of its sessions uses, if any is known. */
export function commandFor({ sessions }, agentId, account) {
  const list = sessions?.agent === agentId ? sessions.list?.sessions ?? [] : [];
  const known = list.find(one => one.provider === account.provider && one.model);
  return modelCommand(known ?? { provider: account.provider }, account.profileId);
}

/** Reads an agent's sessions. */
export async function readSessions({ state, render }, agent) {
  const read = { agent, list: state.sessions?.agent === agent ? state.sessions.list : null, busy: null };
  state.sessions = read;
  try {
    read.list = await api.sessions(agent);
  } catch (thrown) {
    read.problem = api.problem(thrown);
  }
  if (state.sessions === read) render();
}

/** Pins a session to an account, or takes the pin away. */
export async function pin(shell, { agent, session }, profile) {
  const { state, render, tell, fail } = shell;
  if (state.sessions?.agent !== agent) return;
  state.sessions.busy = session;
  render();
  try {
    const done = await api.pinSession(agent, session, profile || null);
    const name = done.label ?? session;
    tell(done.profileId ? text.nowPinned({ session: name, profile: done.profileId }) : text.nowUnpinned({ session: name }));
  } catch (thrown) {
    fail(thrown);
  }
  await readSessions(shell, agent);
  // A choice that was not taken goes back to what is true.
  for (const select of document.querySelectorAll('select[data-change=pin]')) {
    select.value = [...select.options].find(option => option.defaultSelected)?.value ?? '';
  }
  await shell.reload();
}

/** What the buttons do that copy a command. */
export const sessionActions = ({ tell }) => ({
  'copy-model': (_, { command }, pressed) => {
    if (copy(command, pressed)) tell(command.includes(text.aModel) ? text.copiedWithoutModel({ command, model: text.aModel }) : text.copiedCommand({ command }));
  },
});
