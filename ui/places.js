// The window's addresses: #/board, #/agent/<id>, #/account/<agent>/<profile>, #/add?agent=,
// #/sign-in/<provider>?agent=&profile=, #/paste/<provider>?agent=&profile=&kind=.

const encode = encodeURIComponent;

function withQuery(path, query) {
  const given = Object.entries(query).filter(([, value]) => value);
  return given.length ? `${path}?${given.map(([key, value]) => `${key}=${encode(value)}`).join('&')}` : path;
}

export const board = '#/board';
export const agent = id => `#/agent/${encode(id)}`;
export const account = (agentId, profile) => `#/account/${encode(agentId)}/${encode(profile)}`;
export const add = agentId => withQuery('#/add', { agent: agentId });
export const signIn = (provider, agentId, profile) => withQuery(`#/sign-in/${encode(provider)}`, { agent: agentId, profile });
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
  if (view === 'agent' && first) return { view, agent: first };
  if (view === 'account' && first && second) return { view, agent: first, profile: second };
  if (view === 'add') return { view, agent: named.agent };
  if ((view === 'sign-in' || view === 'paste') && first) return { view, provider: first, ...named };
  return { view: 'board' };
}
