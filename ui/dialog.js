// The one dialog: a question, or something to read.

import { text } from './texts.js';
import { fill } from './dom.js';

const dialog = document.getElementById('dialog');

/** Whether the dialog is open. */
export const isOpen = () => dialog.open;

/** Something to read, with nothing to choose. */
export const inform = (title, words) => ask(title, words, null);

/** A question with one verb; whether it was answered with it. */
export function ask(title, words, verb) {
  dialog.querySelector('h1').textContent = title;
  const lines = [words].flat().map(line => Object.assign(document.createElement('p'), { textContent: line }));
  document.getElementById('dialog-text').replaceChildren(...lines);
  document.getElementById('dialog-cancel').textContent = verb ? text.cancel : text.close;
  fill(document.getElementById('dialog-go'), verb);
  dialog.returnValue = '';
  dialog.showModal();
  return new Promise(resolve => dialog.addEventListener('close', () => resolve(dialog.returnValue === 'go'), { once: true }));
}
