// Brings the elements on the screen to the state of freshly drawn ones without replacing those
// that stay: focus, hover, a running turn and a press in progress survive a new view.

/** Makes `old` look like `fresh`; answers the node that now stands there. */
export function morph(old, fresh) {
  if (!same(old, fresh)) {
    old.replaceWith(fresh);
    return fresh;
  }
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return old;
  }
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  const left = new Set(old.childNodes);
  let next = old.firstChild;
  for (const child of [...fresh.childNodes]) {
    const match = [...left].find(candidate => same(candidate, child));
    if (!match) {
      old.insertBefore(child, next);
      continue;
    }
    left.delete(match);
    while (next && next !== match && left.has(next) && !wanted(next, fresh)) next = next.nextSibling;
    if (match === next) next = next.nextSibling;
    else old.insertBefore(match, next);
    morph(match, child);
  }
  for (const node of left) node.remove();
  return old;
}

const same = (a, b) => a.nodeName === b.nodeName && key(a) === key(b);
const wanted = (node, fresh) => [...fresh.childNodes].some(child => same(node, child));

/** Which thing an element shows, where several of a kind stand side by side. */
function key({ dataset }) {
  return dataset ? [dataset.agent, dataset.provider, dataset.profile, dataset.slot].join(' ') : '';
}
