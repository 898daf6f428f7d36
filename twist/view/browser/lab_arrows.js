// @ts-check
/**
 * The three terms as arrows on a few samples: where one step along each term alone would move its distribution.
 *
 * `terms` has for each of them the change of the samples' distributions, [rows*C], as `termArrows` computes it; here
 * they are scaled by the term's weight, so that a knob at 0 makes its arrows vanish.
 */

const LAB_MOST_ARROWS = 9;

/** Draw the arrows over a simplex. */
function labDrawArrows(pen, /** @type {LabSimplex} */ simplex, { rows, terms }) {
  const inks = /** @type {Inks} */ (simplex.inks);
  const numClasses = simplex.scene?.numClasses ?? 0;
  const scale = labArrowScale(simplex);
  for (let k = 0; k < Math.min(rows.length, LAB_MOST_ARROWS); k++) {
    const [x0, y0] = simplex.dot(rows[k]);
    if (Number.isNaN(x0)) continue;
    for (const [name, moves] of Object.entries(terms)) {
      const [dx, dy] = simplex.place(moves, k * numClasses);
      const length = Math.hypot(dx, dy) * scale;
      if (!(length > 3)) continue;
      const shown = Math.min(length, 64);
      const [x1, y1] = [x0 + (dx * scale * shown) / length, y0 + (dy * scale * shown) / length];
      labArrow(pen, x0, y0, x1, y1, { color: inks.paper, width: 5, head: 9 });
      labArrow(pen, x0, y0, x1, y1, { color: inks.dark ? LAB_TERMS[name].light : LAB_TERMS[name].color,
        dash: LAB_TERMS[name].dash, width: 2.4, head: 7 });
    }
    labNumberDisc(pen, inks, x0, y0, k + 1);
  }
}

/** Pixels for a change of probability by 1: fixed, so that arrows of different moments can be compared. */
function labArrowScale(/** @type {LabSimplex} */ simplex) {
  return 1.2 * simplex.radius;
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
