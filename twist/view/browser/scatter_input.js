// @ts-check
/** What a pointer, a wheel, two fingers and a keyboard do with a scatter. */

const REACH = 14; // pixels within which the pointer finds a point
const DIRECTIONS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** What a lasso does with the points chosen before, by the keys held. */
const lassoEffect = (event) => (event.altKey ? "remove" : event.ctrlKey || event.metaKey ? "add" : "set");

/** Answer the person on the scatter's topmost canvas. */
function listenTo(/** @type {Scatter} */ scatter) {
  const canvas = scatter.marks;
  const fingers = new Map();
  let grip = /** @type {{x: number, y: number, view: number[], moved: boolean} | null} */ (null);
  let pinched = false;
  let armed = false; // a page that is scrolled under a resting pointer keeps scrolling: the wheel zooms after a move

  const spread = () => {
    const [a, b] = [...fingers.values()];
    return { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2, distance: Math.hypot(a.x - b.x, a.y - b.y) || 1 };
  };
  const forget = () => {
    grip = scatter.path = null;
    scatter.drawMarks();
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    const here = { x: event.offsetX, y: event.offsetY };
    canvas.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, here);
    if (fingers.size > 1) {
      pinched = true;
      return forget();
    }
    pinched = false;
    grip = { ...here, view: [...scatter.view], moved: false };
    if (event.shiftKey || scatter.lassoMode) scatter.path = [[here.x, here.y]];
  });
  canvas.addEventListener("pointermove", (event) => {
    armed ||= event.movementX !== 0 || event.movementY !== 0;
    const here = { x: event.offsetX, y: event.offsetY };
    if (fingers.size === 2 && fingers.has(event.pointerId)) {
      const before = spread();
      fingers.set(event.pointerId, here);
      const after = spread();
      scatter.zoom(after.distance / before.distance, after.x, after.y, [after.x - before.x, after.y - before.y]);
      return;
    }
    if (!grip) return pinched && fingers.size ? undefined : scatter.on.hover(scatter.find(here.x, here.y), false);
    const [dx, dy] = [here.x - grip.x, here.y - grip.y];
    grip.moved ||= Math.hypot(dx, dy) > 3;
    if (scatter.path) {
      const [first, last] = [scatter.path[0], scatter.path[scatter.path.length - 1]];
      if (scatter.lassoMode === "box" && !event.shiftKey) {
        scatter.path = [first, [here.x, first[1]], [here.x, here.y], [first[0], here.y]];
      } else if (Math.hypot(here.x - last[0], here.y - last[1]) >= 2) scatter.path.push([here.x, here.y]);
      scatter.drawMarks();
    } else if (grip.moved) {
      const scale = scatter.unit * scatter.view[2];
      scatter.look([grip.view[0] - dx / scale, grip.view[1] + dy / scale, grip.view[2]]);
    }
  });
  const release = (event) => {
    fingers.delete(event.pointerId);
    if (!grip) return;
    const [path, clicked] = [scatter.path, !grip.moved];
    forget();
    if (event.type === "pointercancel") return;
    if (clicked) scatter.on.pick(scatter.find(event.offsetX, event.offsetY), event);
    else if (path && path.length > 2) scatter.choose(path, lassoEffect(event));
  };
  canvas.addEventListener("pointerup", release);
  canvas.addEventListener("pointercancel", release);
  canvas.addEventListener("pointerleave", () => {
    armed = false;
    scatter.on.hover(-1, false);
  });
  canvas.addEventListener("dblclick", () => scatter.look([0, 0, 1]));
  canvas.addEventListener("wheel", (event) => {
    if (!armed && !event.ctrlKey) return; // a pinch on a trackpad comes as a wheel with Ctrl: it is meant for the map
    event.preventDefault();
    const lines = event.deltaMode === 1 ? 16 : 1;
    const speed = event.ctrlKey ? 60 : 300;
    scatter.zoom(Math.exp(-clamp(event.deltaY * lines, -120, 120) / speed), event.offsetX, event.offsetY);
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const step = DIRECTIONS[event.key];
    if (event.key === "Escape" && scatter.path) {
      forget();
      event.stopPropagation();
    } else if (event.ctrlKey || event.metaKey || event.altKey) return;
    else if (step) scatter.on.hover(scatter.neighborOf(scatter.hovered, step), true);
    else if (event.key === "Enter" || event.key === " ") scatter.on.pick(scatter.hovered, event);
    else if (event.key === "+" || event.key === "=") scatter.zoom(1.4);
    else if (event.key === "-") scatter.zoom(1 / 1.4);
    else if (event.key === "0") scatter.look([0, 0, 1]);
    else return;
    event.preventDefault();
  });
  canvas.addEventListener("blur", () => scatter.on.hover(-1, false));
}
