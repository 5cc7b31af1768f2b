// The window's addresses: #/board, #/agent/<id>, #/account/<agent>/<profile>, #/copy/<agent>/<profile>, #/sessions/<agent>,
// #/order/<agent>/<provider>, #/restore/<agent>/<profile>, #/snapshots,
// #/snapshots/<id>?agent=&profile=, #/history?agent=&profile=, #/tested, #/settings, #/diagnostics, #/radar, #/new-agent, #/add?agent=,
// #/sign-in/<provider>?agent=&profile=&code=, #/paste/<provider>?agent=&profile=&kind=.

const encode = encodeURIComponent;

function withQuery(path, query) {
  const given = Object.entries(query).filter(([, value]) => value);
  return given.length ? `${path}?${given.map(([key, value]) => `${key}=${encode(value)}`).join('&')}` : path;
}

export const board = '#/board';
export const agent = id => `#/agent/${encode(id)}`;
export const account = (agentId, profile) => `#/account/${encode(agentId)}/${encode(profile)}`;
export const sessions = agentId => `#/sessions/${encode(agentId)}`;
export const order = (agentId, provider) => `#/order/${encode(agentId)}/${encode(provider)}`;
export const restore = (agentId, profile) => `#/restore/${encode(agentId)}/${encode(profile)}`;
export const snapshots = '#/snapshots';
export const snapshot = (id, agentId, profile) => withQuery(`#/snapshots/${encode(id)}`, { agent: agentId, profile });
export const history = (agentId, profile) => withQuery('#/history', { agent: agentId, profile });
export const tested = '#/tested';
export const newAgent = '#/new-agent';
export const diagnostics = '#/diagnostics';
export const radar = '#/radar';
export const settings = '#/settings';
export const add = agentId => withQuery('#/add', { agent: agentId });
export const signIn = (provider, agentId, profile, { code = false } = {}) =>
  withQuery(`#/sign-in/${encode(provider)}`, { agent: agentId, profile, code: code && '1' });
export const paste = (provider, agentId, { profile, kind } = {}) => withQuery(`#/paste/${encode(provider)}`, { agent: agentId, profile, kind });

/** The place that an address names; what names none is the board. */
export function parse(hash) {
  const [path, query = ''] = hash.replace(/^#\/?/, '').split('?');
  let steps;
  try {
    steps = path.split('/').map(decodeURIComponent);
  } catch {
    steps = [];
  }
  const params = new URLSearchParams(query.replaceAll('+', '%2B'));
  const [view, first, second] = steps;
  const named = { agent: params.get('agent') || 'main', profile: params.get('profile') || null, kind: params.get('kind') };
  if ((view === 'agent' || view === 'sessions') && first) return { view, agent: first };
  if (['account', 'copy', 'restore'].includes(view) && first && second) return { view, agent: first, profile: second };
  if (view === 'order' && first && second) return { view, agent: first, provider: second };
  if (view === 'snapshots' && first) return { view: 'snapshot', id: first, agent: params.get('agent') || null, profile: named.profile };
  if (view === 'history') return { view, agent: params.get('agent') || null, profile: named.profile };
  if (['tested', 'snapshots', 'settings', 'diagnostics', 'radar', 'new-agent'].includes(view)) return { view };
  if (view === 'add') return { view, agent: named.agent };
  if (view === 'sign-in' && first) return { view, provider: first, ...named, code: params.has('code') };
  if (view === 'paste' && first) return { view, provider: first, ...named };
  return { view: 'board' };
}
