// The lighting alone, as a widget that takes no room.
function render({ model, el }) {
  el.style.width = "100%";
  return watchLighting(model, el);
}
