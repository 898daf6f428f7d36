// @ts-check
/**
 * The three terms as arrows on a few samples: where one step along each term alone would move its distribution.
 *
 * `terms` has for each of them the change of the samples' distributions, [rows*C], as `termArrows` computes it; here
 * they are scaled by the term's weight, so that a knob at 0 makes its arrows vanish.
 */

const LAB_MOST_ARROWS = 9;

/** Pixels between two arrows of one sample that point the same way, and from its middle to where they begin. */
const LAB_ARROW_LANE = 4.5;
const LAB_ARROW_BEGIN = 8;

/** Both views of a sample when it was last in a batch, and a line between: what consistency pulls together. */
function labDrawPair(pen, /** @type {LabSimplex} */ simplex, /** @type {Float32Array} */ pairs, k) {
  const inks = /** @type {Inks} */ (simplex.inks);
  const numClasses = simplex.scene?.numClasses ?? 0;
  const [a, b] = [0, 1].map((v) => simplex.pixel(...simplex.place(pairs, (2 * k + v) * numClasses)));
  if (!(Math.hypot(a[0] - b[0], a[1] - b[1]) > 14)) return;
  for (const [color, width] of [[inks.paper, 4], [inks.dark ? LAB_TERMS.consistency.light
    : LAB_TERMS.consistency.color, 1.4]]) {
    pen.strokeStyle = color;
    pen.lineWidth = width;
    pen.beginPath();
    pen.moveTo(...a);
    pen.lineTo(...b);
    pen.stroke();
    for (const [x, y] of [a, b]) {
      pen.beginPath();
      pen.arc(x, y, 3.5, 0, 2 * Math.PI);
      pen.fillStyle = inks.paper;
      pen.fill();
      pen.stroke();
    }
  }
}

/** Draw the arrows over a simplex, and both views of each sample. */
function labDrawArrows(pen, /** @type {LabSimplex} */ simplex, { rows, terms, pairs = null }) {
  const inks = /** @type {Inks} */ (simplex.inks);
  const numClasses = simplex.scene?.numClasses ?? 0;
  for (let k = 0; k < Math.min(rows.length, LAB_MOST_ARROWS); k++) {
    const [x, y] = simplex.dot(rows[k]);
    if (Number.isNaN(x)) continue;
    if (pairs) labDrawPair(pen, simplex, pairs, k);
    Object.entries(terms).forEach(([name, moves], lane) => {
      const [dx, dy] = simplex.place(moves, k * numClasses);
      const pull = Math.hypot(dx, dy);
      const [right, down] = [dx / pull, dy / pull];
      const length = Math.min(labArrowLength(pull, simplex.radius), labWayOut(simplex, x, y, right, down) -
        LAB_ARROW_BEGIN);
      if (!(length > 4)) return;
      const side = (lane - 1) * LAB_ARROW_LANE;
      const at = (way) => [x + right * way - down * side, y + down * way + right * side];
      const [from, to] = [at(LAB_ARROW_BEGIN), at(LAB_ARROW_BEGIN + length)];
      labArrow(pen, ...from, ...to, { color: inks.paper, width: 5, head: 10 });
      labArrow(pen, ...from, ...to, { color: inks.dark ? LAB_TERMS[name].light : LAB_TERMS[name].color,
        dash: LAB_TERMS[name].dash, width: 2.4, head: 8 });
    });
    labNumberDisc(pen, inks, x, y, k + 1);
  }
}

/** Pixels of an arrow: they grow as the root of the pull, so that weak ones are seen beside strong ones. */
function labArrowLength(/** @type {number} */ pull, /** @type {number} */ radius) {
  return Math.min(0.55 * radius * Math.sqrt(pull), 0.5 * radius);
}

/** Pixels from a place to the simplex's edge in a direction: no distribution lies beyond. */
function labWayOut(/** @type {LabSimplex} */ simplex, x, y, right, down) {
  const corners = (simplex.corners ?? []).map(([cx, cy]) => simplex.pixel(cx, cy));
  let way = Infinity;
  corners.forEach(([ax, ay], k) => {
    const [bx, by] = corners[(k + 1) % corners.length];
    const [nx, ny] = [by - ay, ax - bx]; // out of a polygon that runs clockwise on the screen
    const speed = nx * right + ny * down;
    if (speed > 0) way = Math.min(way, Math.max(0, (nx * (ax - x) + ny * (ay - y)) / speed));
  });
  return way;
}

/** The number of a chosen sample, the same in all pictures. */
function labNumberDisc(pen, inks, x, y, number) {
  pen.beginPath();
  pen.arc(x, y, 7, 0, 2 * Math.PI);
  pen.fillStyle = inks.ink;
  pen.fill();
  pen.strokeStyle = inks.paper;
  pen.lineWidth = 1.5;
  pen.stroke();
  labWrite(pen, String(number), x, y + 0.5, { color: inks.paper, size: 10, weight: 700, align: "center",
    base: "middle" });
}
