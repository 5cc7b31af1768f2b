// Brings the elements on the screen to the state of freshly drawn ones without replacing those
// that stay: focus, hover, a running turn and a press in progress survive a new view. What already
// looks like that is not touched, so that the engine draws no more than what changed.

/** Makes `old` look like `fresh`; answers the node that now stands there. */
export function morph(old, fresh) {
  if (name(old) !== name(fresh)) {
    old.replaceWith(fresh);
    return fresh;
  }
  if (old.isEqualNode(fresh)) return old;
  if (old.nodeType === Node.TEXT_NODE) {
    old.data = fresh.data;
    return old;
  }
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  const left = new Map();
  for (const child of old.childNodes) {
    const alike = left.get(name(child));
    if (alike) alike.push(child);
    else left.set(name(child), [child]);
  }
  const pairs = [...fresh.childNodes].map(child => [left.get(name(child))?.shift(), child]);
  for (const gone of [...left.values()].flat()) gone.remove();
  let next = old.firstChild;
  for (const [stays, child] of pairs) {
    if (stays && stays === next) next = next.nextSibling;
    else old.insertBefore(stays ?? child, next);
    if (stays) morph(stays, child);
  }
  return old;
}

/** Which thing a node shows: its kind and, where several of a kind stand side by side, which of them. */
function name({ nodeName, dataset }) {
  return dataset ? [nodeName, dataset.agent, dataset.provider, dataset.profile, dataset.slot].join(' ') : nodeName;
}
