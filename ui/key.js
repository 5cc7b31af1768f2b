// The expiry meter: a key blade. Its filled length is the time left, its eight cuts come from the
// fingerprint of the login, so that two accounts with one login show the same key.

import { text } from './texts.js';
import { duration } from './words.js';

const SVG = 'http://www.w3.org/2000/svg';
const WIDTH = 96, HEIGHT = 14, HEEL = 12, TIP = 95.5, FIRST = 87.6, STEP = 8.8, FLAT = 4.6;

/** Eight digits from 0 to 4, or null while the family of the login is not known. */
export function cuts(family) {
  if (!/^[0-9a-f]{16}$/.test(family ?? '')) return null;
  return family.match(/../g).map(byte => parseInt(byte, 16) % 5);
}

/** The cuts as people compare them: "2031 4132". */
export const cutText = digits => `${digits.slice(0, 4).join('')} ${digits.slice(4).join('')}`;

/** The blade's outline, from heel over tip and back along the cuts. */
function outline(digits) {
  const edge = digits
    ? digits.map((digit, at) => {
      const right = FIRST - at * STEP, depth = 13 - digit * 1.75;
      return `L${right.toFixed(1)} ${depth}L${(right - FLAT).toFixed(1)} ${depth}`;
    }).join('')
    : 'L90 10.5H21.4';
  return `M${HEEL} 4H90L${TIP} 7.2${edge}L18.5 8.6H${HEEL}Z`;
}

function shape(name, attributes, className) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (className) node.setAttribute('class', className);
  return node;
}

/** The key of `account` at `now`. */
export function key(account, now) {
  const svg = shape('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: 'img', 'aria-label': label(account, now) }, 'blade');
  const path = outline(cuts(account.family));
  svg.append(shape('circle', { cx: 6.5, cy: 6.6, r: 5 }, 'bow'), shape('path', { d: path }, 'ghost'));
  const share = left(account, now);
  if (share > 0) {
    // In steps that can be seen: the same key is the same picture for a while.
    const width = Math.round(2 * (HEEL + share * (TIP - HEEL))) / 2;
    const part = shape('svg', { width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}` });
    part.append(shape('path', { d: path }, 'left-part'));
    svg.append(part);
  }
  if (account.dueAt && account.lifetimeMs && account.expiresAt > account.dueAt && share > 0) {
    const at = HEEL + Math.min(1, (account.expiresAt - account.dueAt) / account.lifetimeMs) * (TIP - HEEL);
    svg.append(shape('path', { d: `M${at} .25V3` }, 'due'));
  }
  return svg;
}

/** The share of its life that the credential still has; a credential without an end is whole. */
function left(account, now) {
  if (account.lost) return 0;
  if (account.expiresAt === null) return 1;
  const remaining = account.expiresAt - now;
  if (remaining <= 0) return 0;
  return account.lifetimeMs ? Math.min(1, remaining / account.lifetimeMs) : 1;
}

function label(account, now) {
  if (account.lost) return text.gone;
  if (account.expiresAt === null) return text.noEnd;
  const left = duration(Math.max(0, account.expiresAt - now), text.longParts);
  return account.lifetimeMs ? text.leftOf({ left, all: duration(account.lifetimeMs, text.longParts) }) : text.leftOnly({ left });
}
