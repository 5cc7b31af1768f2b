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
export const openLink = () => invoke('open_link');
export const pasteSecret = (target, secret) => invoke('paste_secret', { target, secret });
export const activate = (agent, profile) => invoke('activate', { agent, profile });
export const refresh = (agent, profile) => invoke('refresh', { agent, profile });
export const refreshAll = () => invoke('refresh_all');
export const remove = (agent, profile) => invoke('remove', { agent, profile });
export const startTray = () => invoke('start_tray');
export const setPaused = paused => invoke('set_paused', { paused });

/** A new view was published. */
export const onView = act => listen('view', event => act(event.payload));
/** Something happened to a sign-in. */
export const onSignIn = act => listen('sign-in', event => act(event.payload));
/** The tray, a notification or a second start asks for a place: wantedRoute answers which. */
export const onRoute = act => listen('route', () => act());

/** What went wrong, as { code, message, hint }, whatever was thrown. */
export function problem(thrown) {
  if (thrown && typeof thrown === 'object' && thrown.code) return thrown;
  return { code: 'internal', message: String(thrown?.message ?? thrown), hint: '' };
}
