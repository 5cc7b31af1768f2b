// Every text of the window in the chosen language: what `lang/<code>.json` says under "window", over
// English, so that none is missing. Everything that shows a text waits for them.

import * as api from './api.js';

const { code, locale, window: written, languages } = await api.texts();
const numbers = new Intl.NumberFormat(locale), plurals = new Intl.PluralRules(locale);
document.documentElement.lang = code;

const filled = (words, values) => words.replace(/\{(\w+)\}/g, (_, name) => {
  const value = values?.[name] ?? missing(name, words);
  return typeof value === 'number' ? numbers.format(value) : value;
});

function missing(name, words) {
  throw new Error(`{${name}} is missing in “${words}”`);
}

/** A fixed text as it is, one with {placeholders} as a function of one object with the values by name. */
function made(words) {
  if (typeof words === 'string') return /\{\w+\}/.test(words) ? values => filled(words, values) : words;
  if (!words.other) return Object.fromEntries(Object.entries(words).map(([key, inner]) => [key, made(inner)]));
  // A text with a count: {n} decides which of the language's plural forms it is.
  return values => filled(words[plurals.select(values.n ?? missing('n', words.other))] ?? words.other, values);
}

/** The texts by their keys; a dictionary has those of its own. */
export const text = made(written);

/** The locale for dates and times, such as "en-GB"; code and own name of every language, and of this one the code. */
export { code, languages, locale };
