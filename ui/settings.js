// The settings. A control saves at once and says so to those who listen; why it was refused stands
// beside it. The program decides what is allowed.

import { languages, text } from './texts.js';
import { button, clone, fill, slot } from './dom.js';
import * as api from './api.js';
import { exact, sentence } from './words.js';

const HOUR = 60 * 60_000;
/** "Until tomorrow" ends when a day begins. */
const MORNING = 8;

/** The sheet. What its controls show is set by `showChosen`, once it is on the screen. */
export function settingsSheet({ settings }, now) {
  const { shown, problem } = settings ?? {};
  const until = value(settings, 'mutedUntil');
  const muted = until !== null && until > now;
  const node = clone('t-settings', {
    lead: problem ? said(problem) : shown ? null : text.settingsReading,
    program: shown && program(shown),
    dir: shown && text.dirInUse({ path: shown.stateDir }),
    muted: muted ? text.mutedUntil({ at: exact(until, now) }) : text.mute,
    mute: muted ? [mute(text.unmute, 'now')] : [mute(text.muteHour, 'hour'), mute(text.muteTomorrow, 'tomorrow')],
    file: shown && text.settingsFile({ path: shown.file }),
    version: shown && `Kalit ${shown.kalitVersion}`,
  });
  slot(node, 'all').hidden = !shown;
  node.querySelector('#language').append(new Option(text.systemsLanguage, ''), ...languages.map(([code, name]) => new Option(name, code)));
  for (const row of node.querySelectorAll('[data-setting]')) {
    const { setting } = row.dataset;
    const wrong = settings?.refused[setting];
    fill(slot(row, 'error'), wrong);
    for (const control of row.querySelectorAll('input, select')) control.setAttribute('aria-invalid', String(Boolean(wrong)));
  }
  return node;
}

function program({ openclaw: path, openclawVersion: version }) {
  if (!path) return text.noProgram;
  return version ? text.foundProgram({ version, path }) : text.foundUnknown({ path });
}

function mute(word, until) {
  const node = button(word, { action: 'mute', until });
  // Whichever it becomes keeps the focus.
  node.dataset.focus = 'mute';
  return node;
}

/** Lets the controls show what is chosen; what is being typed, or was refused, stays as it was typed. */
export function showChosen(sheet, { settings }) {
  if (!settings?.shown) return;
  for (const control of sheet.querySelectorAll('[data-setting] :is(input, select)')) {
    const { setting } = control.closest('[data-setting]').dataset;
    const chosen = value(settings, setting);
    if (control.type === 'checkbox') control.checked = chosen === true;
    else if (control.type === 'radio') control.checked = control.value === String(chosen);
    else if (control !== document.activeElement && !settings.refused[setting]) control.value = chosen ?? '';
  }
}

const value = (settings, key) => settings?.shown?.settings.find(one => one.key === key)?.value ?? null;
const said = ({ message, hint }) => `${sentence(message)} ${hint}`.trim();

/** Reads what is chosen. */
export async function readSettings({ state, render }) {
  const read = { shown: state.settings?.shown ?? null, refused: state.settings?.refused ?? {} };
  state.settings = read;
  try {
    read.shown = await api.settings();
  } catch (thrown) {
    read.problem = api.problem(thrown);
  }
  if (state.settings === read) render();
}

/** Saves what a control shows. */
export async function saveControl(shell, control) {
  const { setting } = control.closest('[data-setting]').dataset;
  const [label] = control.labels;
  const name = (label.querySelector('[data-text]') ?? label).textContent;
  if (control.type === 'checkbox') await saveSetting(shell, setting, control.checked, control.checked ? text.settingOn({ name }) : text.settingOff({ name }));
  else if (control.type === 'radio') await saveSetting(shell, setting, control.value === 'true', text.settingSaved({ name }));
  else await saveSetting(shell, setting, control.value.trim() || null, text.settingSaved({ name }));
}

async function saveSetting(shell, key, chosen, words) {
  const { state, say } = shell;
  const { refused } = state.settings;
  delete refused[key];
  try {
    await api.setSetting(key, chosen);
    say(words);
    // Everything is said anew.
    if (key === 'language') return location.reload();
  } catch (thrown) {
    const problem = api.problem(thrown);
    // The control says which setting it is, and what was typed.
    refused[key] = problem.code === 'settings.invalid' ? problem.hint : said(problem);
  }
  await readSettings(shell);
}

/** When muting ends that begins now. */
const ends = {
  now: () => null,
  hour: now => now + HOUR,
  tomorrow: now => {
    const day = new Date(now);
    return new Date(day.getFullYear(), day.getMonth(), day.getDate() + 1, MORNING).getTime();
  },
};

/** What the page's buttons do. */
export const settingActions = shell => ({
  'mute': (_, { until }) => {
    const now = Date.now(), end = ends[until](now);
    return saveSetting(shell, 'mutedUntil', end, end === null ? text.unmuted : text.mutedUntil({ at: exact(end, now) }));
  },
});
