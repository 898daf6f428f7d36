// @ts-check
/**
 * What the collapse lab says of the newest steps: kinds, thresholds and words of twist/runs/kinds.py, with the knob
 * that explains it and the one that would change it.
 *
 * A run's own verdict (Python's) looks at the whole record; this one looks at what is on the screen, so that a turned
 * knob is answered within a second.
 *
 * @typedef {object} LabVerdict
 * @property {string} kind      one of the words of twist.runs.kinds
 * @property {string} title
 * @property {string} sentence  what is happening, with its numbers
 * @property {string} why       which knob, or what, leads there
 * @property {string} cure      what to change; empty when nothing needs to
 * @property {"good" | "bad" | "open"} level
 */

/** Steps before which only what cannot be the start is named, and before which nothing is; steps that are averaged. */
const JUDGE_EARLY = 100, JUDGE_EARLIEST = 30, JUDGE_WINDOW = 15;

/**
 * What is to be said of an experiment now.
 * @param {any} frame  its newest state
 * @param {Record<string, number[]>} trail  step, sharpness, diversity and, where known, consistency and agreement
 * @param {Record<string, any>} knobs  as they are now
 * @returns {LabVerdict}
 */
function judgeNow(frame, trail, knobs) {
  const facts = judgeFacts(frame, trail, knobs);
  for (const rule of JUDGE_RULES) {
    const found = rule(facts);
    if (found) return { level: "bad", ...found };
  }
  throw new Error("no rule speaks");
}

/** The numbers that the rules look at. */
function judgeFacts(frame, trail, knobs) {
  const length = trail.step.length, C = frame.numClasses, N = frame.batchSize;
  const recent = (name) => {
    const values = trail[name]?.slice(Math.max(0, length - JUDGE_WINDOW), length) ?? [];
    return values.length ? judgeMedian(values) : frame[name];
  };
  const top = -Math.log(1 / C + 1e-5), cap = Math.log(Math.min(N, C));
  const floor = labSharpnessFloor(C, frame.temperature, frame.finalNorm);
  const sharpness = recent("sharpness"), diversity = recent("diversity");
  const start = trail.step.slice(0, 3).map((_, k) => trail.diversity[k] - trail.sharpness[k]);
  return {
    C, N, top, cap, floor, sharpness, diversity, knobs, step: frame.step, norm: frame.finalNorm !== "none",
    temperature: frame.temperature, consistency: recent("consistency"), agreement: recent("agreement"),
    stability: frame.stability ?? NaN, information: diversity - sharpness,
    start: start.length ? judgeMedian(start) : NaN, best: Math.min(cap, top - floor),
    perplexity: Math.exp(diversity), largest: judgeLargest(frame), empty: judgeEmpty(frame),
    onePlace: judgeOnePlace(frame.points),
    finite: [frame.consistency, frame.sharpness, frame.diversity].every(Number.isFinite),
  };
}

/** Share of the newest batch in its largest class. */
function judgeLargest(frame) {
  const { views, numClasses: C } = frame, counts = new Array(C).fill(0);
  if (!views?.length) return NaN;
  for (let start = 0; start < views.length; start += C) {
    let best = 0;
    for (let c = 1; c < C; c++) if (views[start + c] > views[start + best]) best = c;
    counts[best] += 1;
  }
  return Math.max(...counts) / (views.length / C);
}

/** How many classes are not the first choice of any sample. */
function judgeEmpty(frame) {
  const { probs, visited, numClasses: C, count } = frame, used = new Set();
  for (let row = 0; row < count; row++) {
    if (visited[row] < 0) continue;
    let best = row * C;
    for (let k = best + 1; k < (row + 1) * C; k++) if (probs[k] > probs[best]) best = k;
    used.add(best - row * C);
  }
  return used.size ? C - used.size : 0;
}

/** Whether all points of the toy lie within less than what a view changes. */
function judgeOnePlace(points) {
  if (!points?.length) return false;
  let reach = 0;
  for (let k = 0; k < points.length; k++) reach = Math.max(reach, Math.abs(points[k] - points[k % 2]));
  return reach < 0.02;
}

function judgeMedian(/** @type {number[]} */ values) {
  const sorted = [...values].sort((a, b) => a - b), half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

const judgeWeight = (facts, term) => facts.knobs[`objective.${term}_weight`] ?? 1;
const judgeSame = (facts) => facts.information < 0.005 * facts.top;
const judgeNats = (value) => `${Math.max(0, value).toFixed(2)}\u00a0nats`;
const judgeShare = (value) => `${Math.round(100 * value)}\u00a0%`;
const judgeAsks = (/** @type {number} */ weight) => (weight === 0 ? "nothing" : "little");
/** What holds of the answers where they are sure, and only there. */
const judgeSure = (facts) => (facts.sharpness < 0.4 * facts.top ? "Samples are sure and classes evenly used"
  : "Classes are evenly used");

/** What keeps everything as it is: the rate, or that no term counts; null where something moves. */
function judgeIdle(facts) {
  const rate = facts.knobs["optim.learning_rate"];
  if (rate === 0) return { why: "The learning rate is 0: nothing changes.", cure: "Raise the learning rate." };
  if (["consistency", "sharpness", "diversity"].some((term) => judgeWeight(facts, term) !== 0)) return null;
  return { why: "All three weights are 0: nothing is asked for.", cure: "Raise the weights to 1." };
}

function judgeNotFinite(facts) {
  if (facts.finite) return null;
  return { kind: "not finite", title: "Not finite", sentence: "A term of the loss is no number any more.",
    why: `The learning rate is ${facts.knobs["optim.learning_rate"]}.`,
    cure: "Rewind, and lower the learning rate." };
}

function judgeUniform(facts) {
  const flat = facts.sharpness > 0.98 * facts.top, same = judgeSame(facts) && facts.sharpness > 0.5 * facts.top;
  const lost = facts.step >= JUDGE_EARLY / 2 && judgeSame(facts) && facts.information < 0.2 * facts.start;
  if (!(flat || same) || !(facts.step >= JUDGE_EARLY || lost)) return null;
  const sentence = flat
    ? `Every sample gets nearly the same flat distribution: its entropy is ${judgeNats(facts.sharpness)} of at most ` +
      `${facts.top.toFixed(2)}, so its class tells hardly anything about it.`
    : `Every sample gets the same distribution: both entropies are ${judgeNats(facts.sharpness)}, so the class tells ` +
      "nothing about the sample.";
  const sharp = judgeWeight(facts, "sharpness"), diverse = judgeWeight(facts, "diversity");
  const close = judgeWeight(facts, "consistency");
  const of = { kind: "uniform collapse", title: "Uniform collapse", sentence, ...judgeIdle(facts) };
  if (of.why) return of;
  if (facts.onePlace) {
    return { ...of, why: "All points lie in one place: there is nothing to tell them apart by.",
      cure: "Draw points in other places, too." };
  }
  if (sharp === 0 && diverse === 0) {
    return { ...of, why: "Only agreement is asked for, and any answer that is the same for all agrees with itself.",
      cure: "Raise sharpness and diversity to 1, and restart." };
  }
  if (sharp < 1) {
    return { ...of, why: `Sharpness has weight ${sharp}: ${judgeAsks(sharp)} asks a sample to choose, ` +
      (close ? "and two views agree best when both say “I cannot tell”."
        : "and flat answers use all classes evenly."),
    cure: "Raise sharpness to 1; if it stays flat, restart." };
  }
  if (close > 1) {
    return { ...of, why: `Consistency has weight ${close}: views agree most cheaply where every answer is flat.`,
      cure: "Lower consistency to 1." };
  }
  if (facts.temperature > 1.5) {
    return { ...of, why: `The temperature is ${facts.temperature}: it flattens every answer.`,
      cure: "Lower the temperature." };
  }
  return { ...of, why: "So far consistency wins: the two views of a sample share so little that flat answers " +
    "agree most cheaply.",
    cure: "Make the views milder, or lower consistency." };
}

function judgeOneClass(facts) {
  const crowded = facts.diversity < 0.1 * facts.top || facts.largest > 0.9;
  const sharp = crowded && facts.sharpness < 0.05 * facts.top;
  const same = judgeSame(facts) && facts.sharpness <= 0.5 * facts.top;
  if (!(sharp || same) || facts.step < JUDGE_EARLIEST) return null;
  const diverse = judgeWeight(facts, "diversity");
  const rate = facts.knobs["optim.learning_rate"], leaps = diverse >= 1 && rate >= 0.1;
  const why = diverse < 1
    ? `Diversity has weight ${diverse}: ${judgeAsks(diverse)} asks for more than one class, and to put everything ` +
      "into one is sure and consistent."
    : leaps ? `The learning rate is ${rate}: a large step can throw everything into one class.`
    : "The pull toward an even use of the classes lost: once everything is in one class, it has nearly no slope.";
  const norm = facts.norm ? "" : " There is no norm before the softmax, which would forbid it.";
  return { kind: "one-class collapse", title: "One-class collapse",
    sentence: `${facts.largest < 0.995 ? "Nearly every" : "Every"} sample gets the same ${sharp ? "sharp " : ""}` +
      `distribution: one class takes ${judgeShare(facts.largest)} of them, ` + (facts.diversity < 0.1 * facts.top
      ? `and both entropies are near 0 (H(Y) = ${judgeNats(facts.diversity)}).`
      : `with H(Y|X) = ${judgeNats(facts.sharpness)} and H(Y) = ${judgeNats(facts.diversity)}.`),
    why: why + norm,
    cure: `${leaps ? "Lower the learning rate" : `Raise diversity${diverse < 1 ? " to 1" : ""}`}` +
      `${facts.norm ? "" : " or switch the norm on"}, ` +
      "and restart: from here hardly any slope leads back." };
}

function judgePartialEarly(facts) {
  const young = facts.step >= JUDGE_EARLY / 2 && facts.step < JUDGE_EARLY;
  return young && facts.perplexity / Math.min(facts.C, facts.N) < 0.25 ? judgePartial(facts) : null;
}

function judgeTooEarly(facts) {
  if (facts.step >= JUDGE_EARLY && Number.isFinite(facts.information)) return null;
  const done = facts.step === 0 ? "Nothing is trained yet" : "Few steps are done";
  return { kind: "too early to say", title: "Too early to say", level: "open",
    sentence: `${done}: before step ${JUDGE_EARLY} the point says more about the start than about where it goes.`,
    why: "What an untrained network answers comes from its random first weights.", cure: "Wait a moment." };
}

function judgeSmallBatch(facts) {
  if (!(facts.cap < 0.6 * Math.log(facts.C)) || !(facts.information < 0.5 * (facts.top - facts.floor))) return null;
  const few = facts.knobs["optim.batch_size"] > facts.N; // there are not more
  return { kind: "batch too small", title: "Batch too small",
    sentence: `A batch of ${facts.N} samples cannot tell more than ${judgeNats(facts.cap)} of the ` +
      `${facts.top.toFixed(2)} of ${facts.C} classes.`,
    why: `${few ? `There are only ${facts.N} samples` : `The batch size is ${facts.N}`} for ${facts.C} classes: a ` +
      "batch cannot use more classes than it has samples.",
    cure: few ? "Draw more points, or take fewer classes." : `Raise the batch size to ${facts.C} or more.` };
}

function judgePartial(facts) {
  const reachable = Math.min(facts.C, facts.N);
  if (!(facts.perplexity / reachable < 0.3)) return null;
  const diverse = judgeWeight(facts, "diversity"), sharp = judgeWeight(facts, "sharpness");
  const less = diverse > 0 && diverse < sharp ? `, less than sharpness (${sharp})` : "";
  const why = diverse < 1
    ? `Diversity has weight ${diverse}${less}: samples crowd into the first classes that are ahead, and ` +
      `${judgeAsks(diverse)} pulls the others back into use.`
    : "Classes that lose all their samples have nearly no slope that would bring them back.";
  return { kind: "partial collapse", title: "Partial collapse",
    sentence: `Only about ${facts.perplexity.toFixed(1)} of ${facts.C} classes are in use, and most are empty; ` +
      (facts.sharpness < 0.1 * facts.top ? `yet a sample is sure of its class (${judgeNats(facts.sharpness)}).`
      : `a sample's entropy is ${judgeNats(facts.sharpness)}.`),
    why: why + (facts.norm ? "" : " There is no norm before the softmax, which would keep every class alive."),
    cure: `${diverse < 1 ? "Raise diversity to 1" : "Raise diversity"}${facts.norm ? "" : " or switch the norm on"}, ` +
      "and restart." };
}

const judgeDisagree = (facts) => facts.agreement < Math.max(0.4, 1.5 / facts.C) && facts.consistency > 1 &&
  facts.information > 0.1 * facts.top;

function judgeNoise(facts) {
  const needed = judgeDisagree(facts) ? 0.6 : facts.information > 0.75 * facts.best ? 0.4 : 0;
  if (!(facts.stability < needed)) return null;
  return { kind: "overconfident noise", title: "Overconfident noise",
    sentence: `${judgeSure(facts)}, but only ${judgeShare(facts.stability)} of the samples keep ` +
      "their class for a moment: the answers mean nothing.",
    why: `Steps are too large (learning rate ${facts.knobs["optim.learning_rate"]}), or two views share too little.`,
    cure: "Lower the learning rate." };
}

function judgeInconsistent(facts) {
  if (!judgeDisagree(facts)) return null;
  const close = judgeWeight(facts, "consistency"), strong = facts.knobs["views.strength"] > 1;
  const why = close < 1
    ? `Consistency has weight ${close}: ${judgeAsks(close)} asks two views of a sample to agree.`
    : `The views (strength ${facts.knobs["views.strength"]}) share too little.`;
  return { kind: "inconsistent views", title: "Inconsistent views",
    sentence: `${judgeSure(facts)}, but two views of one sample agree in only ` +
      `${judgeShare(facts.agreement)} of the cases and are ${judgeNats(facts.consistency)} apart: the classes follow ` +
      "the augmentation. The plane does not show it; the dots do, means of two views that disagree.",
    why, cure: close < 1 ? `Raise consistency to 1${strong ? " and lower the view strength to 1" : ""}, and restart.`
      : "Make the views milder." };
}

function judgePlateau(facts) {
  const near = facts.information < 0.075 * facts.cap;
  const unmoved = Math.abs(facts.information - facts.start) < 0.05 && facts.information < 0.4 * facts.best;
  if (!(near || unmoved) || facts.information > 0.75 * facts.best) return null; // more than that cannot be
  const close = judgeWeight(facts, "consistency"), sharp = judgeWeight(facts, "sharpness");
  const why = sharp < 1 ? `Sharpness has weight ${sharp}: ${judgeAsks(sharp)} asks a sample to choose.`
    : close > 1 ? `Consistency has weight ${close}: views agree most cheaply where every answer is flat.`
      : "Near the start the terms nearly balance: directions in which the views agree grow slowly at first.";
  return { kind: "plateau near uniform", title: near ? "Plateau near uniform" : "Stuck at the start", level: "open",
    sentence: `After ${facts.step} steps the classes hold only ${judgeNats(facts.information)} of at most ` +
      `${facts.best.toFixed(2)} about the samples. This is no collapse yet, and no learning either.`,
    why, cure: sharp < 1 ? "Raise sharpness to 1." : close > 1 ? "Lower consistency to 1."
      : "Wait; if it stays, make the views milder or lower consistency.", ...judgeIdle(facts) };
}

function judgeHealthy(facts) {
  const share = facts.best > 0 ? Math.min(1, facts.information / facts.best) : 0;
  const floor = facts.floor < 0.01 ? ""
    : ` (behind the norm no lower than ${facts.floor.toFixed(2)} with classes evenly used)`;
  const some = facts.empty < 1 ? "" : ` ${facts.empty === 1 ? "One class is" : `${facts.empty} classes are`} empty.`;
  const apart = facts.consistency > 1; // the plane does not show it
  const milder = judgeWeight(facts, "consistency") < 1 ? "Raise consistency to 1."
    : "Make the views milder, or raise consistency.";
  return { kind: "healthy", title: "Healthy so far", level: apart ? "open" : "good",
    sentence: `The classes hold ${facts.information.toFixed(2)} of at most ${judgeNats(facts.best)} about the ` +
      `samples (${judgeShare(share)}): ${facts.perplexity.toFixed(1)} of ${facts.C} classes are in use, views agree ` +
      `in ${judgeShare(facts.agreement)} of the cases, and a sample's entropy is ${judgeNats(facts.sharpness)}` +
      `${floor}.${some}`,
    why: judgeWhyHealthy(facts), cure: apart ? milder : "" };
}

/** Why it is healthy, or still is: a term that is off, or a knob that leaves little to learn, is worth a word. */
function judgeWhyHealthy(facts) {
  const [close, sharp, diverse] = ["consistency", "sharpness", "diversity"].map((term) => judgeWeight(facts, term));
  const idle = judgeIdle(facts);
  if (idle) return idle.why;
  if (sharp === 0) return "Sharpness has weight 0: nothing asks a sample to choose. Watch its entropy.";
  if (close === 0) {
    return `Consistency has weight 0: nothing asks the views to agree, ${facts.agreement > 0.9
      ? "they are only too alike to fall apart." : "and they begin to fall apart."}`;
  }
  if (diverse === 0 && facts.norm) {
    return facts.empty ? "Diversity has weight 0: nothing asks for an even use of the classes, the norm before the " +
      "softmax alone keeps several in use." : "Diversity has weight 0, and yet all classes are used: the norm before " +
      "the softmax keeps every class alive.";
  }
  if (diverse === 0) {
    return "Diversity has weight 0, and yet what is learned stays: no slope leads away from sure, consistent " +
      "classes. Restart to see what diversity prevents.";
  }
  if (facts.consistency > 1) {
    return `Two views of a sample are ${judgeNats(facts.consistency)} apart: they begin to disagree.`;
  }
  if (facts.best < 0.6 * facts.cap) {
    return `At temperature ${facts.temperature} the norm leaves no more than ${facts.best.toFixed(2)} of log C = ` +
      `${judgeNats(Math.log(facts.C))}: lower the temperature, and samples can be surer.`;
  }
  return "Consistency pulls the two views together, sharpness the samples into corners, diversity the classes apart.";
}

/** In the order in which they are tried: the first that finds its condition speaks. */
const JUDGE_RULES = [judgeNotFinite, judgeUniform, judgeOneClass, judgePartialEarly, judgeTooEarly, judgeSmallBatch,
  judgePartial, judgeNoise, judgeInconsistent, judgePlateau, judgeHealthy];
