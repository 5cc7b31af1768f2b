// In the program's place: answers the page's commands with what `window.kalitState` holds, and tells
// it the events that follow a command. What has no answer is noted.
(() => {
  const { answers, events } = window.kalitState;
  const listeners = new Map();
  window.kalitUnanswered = [];
  window.kalitThrown = [];
  addEventListener('error', ({ message }) => window.kalitThrown.push(message));
  addEventListener('unhandledrejection', ({ reason }) => window.kalitThrown.push(String(reason?.message ?? reason)));
  // When something last happened.
  window.kalitMoved = Date.now();
  new MutationObserver(() => { window.kalitMoved = Date.now(); }).observe(document, { subtree: true, childList: true, characterData: true });
  const invoke = (command, { request } = {}) => {
    const answer = answers[command];
    if (!answer) window.kalitUnanswered.push(command);
    if (!answer || answer.never) return new Promise(() => {});
    for (const { after, name, payload } of events) {
      if (after === command) setTimeout(() => listeners.get(name)?.({ event: name, payload: { ...payload, attempt: request.attempt } }), 50);
    }
    return answer.problem ? Promise.reject(answer.problem) : Promise.resolve(answer.value);
  };
  const listen = (name, act) => {
    listeners.set(name, act);
    return Promise.resolve(() => listeners.delete(name));
  };
  window.kalitTell = (name, payload) => listeners.get(name)({ event: name, payload });
  window.__TAURI__ = { core: { invoke }, event: { listen } };
})();
