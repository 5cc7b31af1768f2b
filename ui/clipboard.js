// The clipboard, reached by the page itself: what is copied here is never a secret.

import { text } from './texts.js';

/** Puts `words` on the clipboard, from a field made for the moment; where that does not work the
    field stays, selected, to be copied by hand. Whether it worked. */
export function copy(words, pressed) {
  pressed.parentElement.querySelector('textarea.link')?.remove();
  const field = document.createElement('textarea');
  field.value = words;
  field.readOnly = true;
  field.className = 'link';
  field.setAttribute('aria-label', text.copyByHand);
  pressed.after(field);
  field.select();
  const copied = document.execCommand('copy');
  if (copied) {
    field.remove();
    pressed.textContent = text.copied;
    pressed.focus();
  }
  return copied;
}
