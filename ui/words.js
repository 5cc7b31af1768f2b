// Times in words. They change at minute boundaries, never by the second.

import { locale, text } from './texts.js';

const MINUTE = 60_000, HOUR = 60 * MINUTE, DAY = 24 * HOUR;
const clock = new Intl.DateTimeFormat(locale, { hour: '2-digit', minute: '2-digit' });
const dayAndMonth = new Intl.DateTimeFormat(locale, { day: 'numeric', month: 'short' });
const weekday = new Intl.DateTimeFormat(locale, { weekday: 'long' });
const names = new Intl.ListFormat(locale, { type: 'conjunction' });

/** "20 Nov"; a month that is cut short with a point leaves it to the sentence. */
const day = at => dayAndMonth.format(at).replace(/\.$/, '');

/** At most two units: "6 d 7 h", or spelled out with text.longParts. */
export function duration(millis, parts = text.parts) {
  const days = Math.floor(millis / DAY), hours = Math.floor(millis % DAY / HOUR), minutes = Math.floor(millis % HOUR / MINUTE);
  const d = days && parts.d({ n: days }), h = hours && parts.h({ n: hours }), min = minutes && parts.min({ n: minutes });
  if (days) return hours ? `${d} ${h}` : d;
  if (hours) return minutes ? `${h} ${min}` : h;
  return min || parts.less;
}

/** When the text of a shrinking duration changes, in milliseconds from now. */
export const untilChange = millis => millis % (millis >= DAY ? HOUR : MINUTE) + 1;

/** "13:48". */
export const time = at => clock.format(at);

/** "13:48" today, "20 Nov" otherwise. */
export const moment = (at, now) => sameDay(at, now) ? time(at) : day(at);

/** "13:48" today, "29 Nov 21:10" otherwise. */
export const exact = (at, now) => sameDay(at, now) ? time(at) : `${day(at)} ${time(at)}`;

/** "Kalit renews it at 17:24.", or "… on Sunday at 09:10." */
export function renews(at, now) {
  if (sameDay(at, now)) return text.renewsAt({ at: time(at) });
  return text.renewsOn({ day: at - now < 6 * DAY ? weekday.format(at) : day(at), at: time(at) });
}

/** "main, research and lab". */
export const joined = list => names.format(list);

const sameDay = (a, b) => new Date(a).toDateString() === new Date(b).toDateString();

/** A message of core as a sentence: "line 41: …" becomes "Line 41: …."; file names stay. */
export function sentence(words) {
  if (!words) return '';
  const begun = /^\p{Ll}[\p{Ll}\p{Lm}\p{M}'‘’]*([ ,;:]|$)/u.test(words) ? words[0].toLocaleUpperCase(locale) + words.slice(1) : words;
  return /[.!?…]$/.test(begun) ? begun : `${begun}.`;
}

/** Words as they stand within a sentence: "Signed out" becomes "signed out"; names stay. */
export const within = words => /^\p{Lu}[\p{Ll}\p{Lm}\p{M}'‘’]*( |$)/u.test(words) ? words[0].toLocaleLowerCase(locale) + words.slice(1) : words;
