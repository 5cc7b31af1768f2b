// Templates and slots: the one way text gets into the page, always as text.

import { text } from './texts.js';

/** Sets every fixed text (data-text) below `root`. */
export function fixed(root) {
  for (const node of root.querySelectorAll('[data-text]')) node.textContent = text[node.dataset.text];
}

/** A copy of a template's one element with its slots filled; an empty slot is hidden. */
export function clone(id, slots = {}) {
  const node = document.getElementById(id).content.firstElementChild.cloneNode(true);
  fixed(node);
  for (const [name, value] of Object.entries(slots)) fill(slot(node, name), value);
  return node;
}

/** The place called `name` in `node`. */
export const slot = (node, name) => node.querySelector(`[data-slot="${name}"]`);

/** Puts a text, a node or several nodes into `place`. */
export function fill(place, value) {
  const empty = value === null || value === undefined || value === false || value === '' || (Array.isArray(value) && !value.length);
  place.hidden = empty;
  if (empty) place.replaceChildren();
  else if (Array.isArray(value)) place.replaceChildren(...value);
  else if (typeof value === 'string') place.replaceChildren(...spoken(value));
  else place.replaceChildren(value);
}

/** A text whose `commands` stand in the monospace face. */
const spoken = words => words.split('`').map((part, at) => at % 2 ? code(part) : part);

/** A name that may be broken before the @ of an address. */
export const breakable = name => name.split(/(?=@)/).flatMap((part, at) => at ? [document.createElement('wbr'), part] : [part]);

/** A state's or a strip's shape. */
export function glyph(name, spins = false) {
  const node = clone('t-glyph');
  draw(node, name);
  node.classList.toggle('spin', spins);
  return node;
}

/** What runs at this moment, after a shape that turns. */
export const busyLine = words => [glyph('g-renew', true), Object.assign(document.createElement('span'), { textContent: words })];

/** Draws the symbol `name` in `svg`, as a copy: for every <use> the engine keeps more than that. */
export function draw(svg, name) {
  const symbol = document.getElementById(name).cloneNode(true);
  svg.setAttribute('viewBox', symbol.getAttribute('viewBox'));
  svg.replaceChildren(...symbol.children);
}

for (const { content } of document.querySelectorAll('template')) {
  for (const use of content.querySelectorAll('use')) draw(use.parentElement, use.getAttribute('href').slice(1));
}

/**
 * A button. `data` becomes data-attributes, of which `action` decides what a press does; `name`
 * says for whom, after the visible word.
 */
export function button(word, data, { main = false, grave = false, name = '' } = {}) {
  const node = document.createElement('button');
  node.type = 'button';
  node.className = `btn${main ? ' main' : ''}${grave ? ' grave' : ''}`;
  node.textContent = word;
  Object.assign(node.dataset, data);
  node.dataset.focus = Object.values(data).join(' ');
  if (name) node.setAttribute('aria-label', `${word}: ${name}`);
  return node;
}

/** A link to another view that looks like a button. */
export function go(word, href, options = {}) {
  const node = document.createElement('a');
  node.className = `btn${options.main ? ' main' : ''}${options.plain ? ' plain' : ''}`;
  node.href = href;
  node.textContent = word;
  node.dataset.focus = href;
  if (options.name) node.setAttribute('aria-label', `${word}: ${options.name}`);
  return node;
}

/** Text in the monospace face. */
export function code(words) {
  const node = document.createElement('code');
  node.textContent = words;
  return node;
}
