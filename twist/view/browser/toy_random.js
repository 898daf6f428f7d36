// @ts-check
/**
 * Random numbers of the toy: a stream for every purpose and step, so that a run needs no state of a generator.
 *
 * What is drawn depends on the seed, the purpose and the step alone, never on the knobs: two runs of one seed see the
 * same points, the same batches and the same noise.
 */

/** Purposes of a stream. */
const TOY_STREAMS = { points: 1, weights: 2, order: 3, views: 4, first: 5 };

/** A stream of numbers (sfc32, warmed up) for a seed, a purpose and a number such as the step. */
class ToyRandom {
  constructor(/** @type {number} */ seed, /** @type {number} */ purpose, number = 0) {
    this.a = toyMix(seed | 0, 0x9e3779b9);
    this.b = toyMix(purpose | 0, this.a);
    this.c = toyMix(number | 0, this.b);
    this.counter = 1;
    this.spare = NaN;
    for (let k = 0; k < 12; k++) this.bits();
  }

  /** 32 random bits, 0 … 2³² − 1. */
  bits() {
    const sum = (((this.a + this.b) | 0) + this.counter) | 0;
    this.counter = (this.counter + 1) | 0;
    this.a = this.b ^ (this.b >>> 9);
    this.b = (this.c + (this.c << 3)) | 0;
    this.c = ((this.c << 21) | (this.c >>> 11)) + sum | 0;
    return sum >>> 0;
  }

  /** A number in [0, 1) of 53 bits. */
  uniform() {
    return ((this.bits() >>> 5) * 67108864 + (this.bits() >>> 6)) / 9007199254740992;
  }

  /** A number of mean 0 and variance 1, normally distributed (Box and Muller). */
  normal() {
    if (this.spare === this.spare) {
      const spare = this.spare;
      this.spare = NaN;
      return spare;
    }
    const radius = Math.sqrt(-2 * Math.log(1 - this.uniform()));
    const angle = 2 * Math.PI * this.uniform();
    this.spare = radius * Math.sin(angle);
    return radius * Math.cos(angle);
  }

  /** The numbers 0 … n − 1 in random order. */
  permutation(/** @type {number} */ n) {
    const order = Int32Array.from({ length: n }, (_, k) => k);
    for (let k = n - 1; k > 0; k--) {
      const other = Math.floor(this.uniform() * (k + 1));
      [order[k], order[other]] = [order[other], order[k]];
    }
    return order;
  }
}

/** Two numbers of 32 bits stirred into one. */
function toyMix(/** @type {number} */ value, /** @type {number} */ into) {
  let h = Math.imul(value ^ into, 0x85ebca6b) + 0x165667b1 | 0;
  h = Math.imul(h ^ (h >>> 15), 0x2c1b3c6d);
  h = Math.imul(h ^ (h >>> 12), 0x297a2d39);
  return (h ^ (h >>> 15)) | 0;
}
