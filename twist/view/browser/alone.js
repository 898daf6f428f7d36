// @ts-check
/** Draw from the JSON inside an element, without a kernel; its bytes are objects with the one key `base64`. */
function renderAlone(/** @type {HTMLElement} */ el) {
  const values = JSON.parse(el.querySelector("script")?.textContent ?? "{}", (_, value) =>
    value && typeof value.base64 === "string"
      ? Uint8Array.from(atob(value.base64), (character) => character.charCodeAt(0)) : value);
  const events = new EventTarget();
  const model = {
    get: (name) => values[name],
    set(name, value) {
      values[name] = value;
      events.dispatchEvent(new Event(`change:${name}`));
    },
    save_changes() {},
    on: (event, then) => events.addEventListener(event, then),
    off: (event, then) => events.removeEventListener(event, then),
  };
  return render({ model, el });
}
