// The one dialog: a question, or something to read.

import { text } from './texts.js';
import { clone, fill } from './dom.js';

const dialog = document.getElementById('dialog');

/** Whether the dialog is open. */
export const isOpen = () => dialog.open;

/** Something to read, with nothing to choose. */
export const inform = (title, words) => ask(title, words, null);

/** A question with one verb; whether it was answered with it. */
export const ask = (title, words, verb) => open(title, [words].flat().map(paragraph), verb);

/** A question with several answers, the first one chosen until another is; its value, else null. */
export async function choose(title, options) {
  const list = clone('t-ways', { options: options.map(option) });
  const chosen = () => options.find(one => one.value === list.querySelector('input:checked').value);
  list.querySelector('input').checked = true;
  list.addEventListener('change', () => {
    const { verb, grave = false } = chosen();
    fill(document.getElementById('dialog-go'), verb);
    document.getElementById('dialog-go').classList.toggle('grave', grave);
  });
  return await open(title, [list], options[0].verb) ? chosen().value : null;
}

function option({ value, verb, help, disabled = false }) {
  const node = clone('t-way', { verb, help });
  Object.assign(node.querySelector('input'), { value, disabled });
  return node;
}

const paragraph = line => Object.assign(document.createElement('p'), { textContent: line });

function open(title, content, verb) {
  dialog.querySelector('h1').textContent = title;
  document.getElementById('dialog-text').replaceChildren(...content);
  document.getElementById('dialog-cancel').textContent = verb ? text.cancel : text.close;
  fill(document.getElementById('dialog-go'), verb);
  document.getElementById('dialog-go').classList.remove('grave');
  dialog.returnValue = '';
  dialog.showModal();
  return new Promise(resolve => dialog.addEventListener('close', () => resolve(dialog.returnValue === 'go'), { once: true }));
}
