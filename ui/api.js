// The only file that knows how to reach the program: its commands and its events.

const { invoke } = window.__TAURI__.core;
const { listen } = window.__TAURI__.event;

export const snapshot = () => invoke('snapshot');
export const providers = () => invoke('providers');
export const firstRun = () => invoke('first_run');
export const wantedRoute = () => invoke('wanted_route');
export const signInStart = request => invoke('sign_in_start', { request });
export const signInPaste = text => invoke('sign_in_paste', { text });
export const signInCancel = () => invoke('sign_in_cancel');
export const loginRoute = provider => invoke('login_route', { provider });
export const openclawLogins = () => invoke('openclaw_logins');
export const openclawLoginStart = request => invoke('openclaw_login_start', { request });
export const loginAnswer = (ask, text) => invoke('login_answer', { ask, text });
export const loginChoose = (ask, choice) => invoke('login_choose', { ask, choice });
export const openLink = () => invoke('open_link');
export const pasteSecret = (target, secret) => invoke('paste_secret', { target, secret });
export const activate = (agent, profile) => invoke('activate', { agent, profile });
export const setOrder = (agent, provider, ids) => invoke('set_order', { agent, provider, ids });
export const clearOrder = (agent, provider) => invoke('clear_order', { agent, provider });
export const clearCooldown = (agent, profile) => invoke('clear_cooldown', { agent, profile });
export const orderGloballyPreview = (provider, ids) => invoke('order_globally_preview', { provider, ids });
export const orderGlobally = (provider, ids) => invoke('order_globally', { provider, ids });
export const sessions = agent => invoke('sessions', { agent });
export const pinSession = (agent, session, profile) => invoke('pin_session', { agent, name: session, profile });
export const testLoginsOffer = () => invoke('test_logins_offer');
export const testLogins = () => invoke('test_logins');
export const restorePreview = (agent, profile) => invoke('restore_preview', { agent, profile });
export const restore = (agent, profile) => invoke('restore', { agent, profile });
export const snapshots = () => invoke('snapshots');
export const snapshotPreview = choice => invoke('snapshot_preview', { choice });
export const restoreSnapshot = choice => invoke('restore_snapshot', { choice });
export const refresh = (agent, profile) => invoke('refresh', { agent, profile });
export const refreshAll = () => invoke('refresh_all');
export const oneOwnerPreview = profile => invoke('one_owner_preview', { profile });
export const oneOwner = profile => invoke('one_owner', { profile });
export const removalPreview = (agent, profile) => invoke('removal_preview', { agent, profile });
export const remove = (agent, profile, everywhere) => invoke('remove', { agent, profile, everywhere });
export const startTray = () => invoke('start_tray');
export const addAgent = id => invoke('add_agent', { id });
export const diagnosis = () => invoke('diagnosis');
export const texts = () => invoke('texts');
export const radar = keychain => invoke('radar', { keychain });
export const history = (agent, profile, limit) => invoke('history', { agent, profile, limit });
export const exportHistory = (agent, profile) => invoke('export_history', { agent, profile });
export const why = (agent, profile) => invoke('why', { agent, profile });
export const settings = () => invoke('settings');
export const setSetting = (key, value) => invoke('set_setting', { key, value });
export const setPaused = paused => invoke('set_paused', { paused });

/** A new view was published. */
export const onView = act => listen('view', event => act(event.payload));
/** Something happened to a sign-in. */
export const onSignIn = act => listen('sign-in', event => act(event.payload));
/** OpenClaw's own sign-in said, asked or wants something. */
export const onLoginStep = act => listen('login-step', event => act(event.payload));
/** The tray, a notification or a second start asks for a place: wantedRoute answers which. */
export const onRoute = act => listen('route', () => act());

/** What went wrong, as { code, message, hint }, whatever was thrown. */
export function problem(thrown) {
  if (thrown && typeof thrown === 'object' && thrown.code) return thrown;
  return { code: 'internal', message: String(thrown?.message ?? thrown), hint: '' };
}
