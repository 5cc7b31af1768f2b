// Every text of the window in the chosen language: what `lang/<code>.json` says under "window", over
// English, so that none is missing. The program sets `kalitTexts` before any script of the page runs.

const { code, locale, window: written } = globalThis.kalitTexts;
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

/** For dates and times, such as "en-GB". */
export { locale };
