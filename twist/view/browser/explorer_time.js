// @ts-check
/** The slider through the checkpoints: places, classes, gallery and histogram follow it, without the kernel. */

const TIME_GLIDE_MS = 450;
const TIME_STOP_MS = 900; // from one checkpoint to the next while it plays

class ExplorerTime {
  /** @param {{show(t: number): void, frame(at: number): void, choose(id: number): void}} on */
  constructor(on) {
    this.on = on;
    this.at = this.t = 0; // where the map is, and which checkpoint is shown
    this.play = make("button", { type: "button", text: "▶", "aria-label": "Play through the checkpoints",
      title: "Play through the checkpoints", onclick: () => (this.playing ? this.stop() : this.start()) });
    this.words = make("span", { class: "twist-facts", "aria-live": "off" });
    this.said = make("p", { class: "twist-caption" });
    this.slider = make("input", { type: "range", min: "0", max: "0", step: "1", value: "0",
      "aria-label": "Checkpoint", oninput: () => {
        this.stop();
        this.go(Number(this.slider.value));
      } });
    this.slider.dataset.lmSuppressShortcuts = "true";
    this.ribbon = new ExplorerRibbon({ go: (t) => {
      this.stop();
      this.go(t);
    }, choose: on.choose });
    this.node = make("section", { class: "twist-time", "aria-label": "Checkpoints" },
      make("header", {}, this.play, make("h3", { text: "Checkpoints" }), this.words), this.slider, this.ribbon.node,
      this.said);
    this.node.hidden = true;
  }

  /** @param {History | null} history */
  load(history, numClasses) {
    this.history = history;
    this.node.hidden = !history;
    if (!history) return;
    const last = history.steps.length - 1;
    this.slider.max = String(last);
    this.t = Math.min(this.t, last); // a new history may hold fewer
    this.at = Math.min(this.at, last);
    this.ribbon.load(history, numClasses);
    this.tell();
  }

  /** Show a checkpoint that was chosen here or elsewhere. */
  set(t) {
    if (t === this.t) return; // it is there, or glides there
    this.t = t;
    this.#glide(t);
    this.tell();
  }

  /** Go to a checkpoint, and tell who asked. */
  go(t) {
    if (t === this.t || !this.history) return;
    this.t = t;
    this.tell();
    this.on.show(t);
    this.#glide(t);
  }

  tell() {
    const history = /** @type {History} */ (this.history);
    if (!history) return;
    const epoch = +history.epochs[this.t].toFixed(1);
    const kept = this.t ? history.changes[this.t - 1].kept : null;
    const stable = kept === null ? "" : ` · ${percent(kept)} kept their class since the one before`;
    const step = `step ${count(history.steps[this.t])} · epoch ${epoch}`;
    const words = `${count(this.t + 1)} of ${count(history.steps.length)} · ${step}`;
    this.words.textContent = words + stable;
    this.slider.value = String(this.t);
    this.slider.setAttribute("aria-valuetext", `checkpoint ${words}`);
    this.node.dataset.at = String(this.t);
  }

  /** What the person must know of the slider, in words. */
  say(...sentences) {
    this.said.textContent = sentences.filter(Boolean).join(" ");
    this.said.hidden = !this.said.textContent;
  }

  #glide(to) {
    cancelAnimationFrame(this.moving);
    const [from, began] = [this.at, performance.now()];
    const still = document.hidden || matchMedia("(prefers-reduced-motion: reduce)").matches;
    const frame = (now) => {
      const share = still ? 1 : clamp((now - began) / TIME_GLIDE_MS);
      this.at = share < 1 ? from + (to - from) * share * share * (3 - 2 * share) : to;
      this.on.frame(this.at);
      if (share < 1) this.moving = requestAnimationFrame(frame);
    };
    frame(began);
  }

  start() {
    if (!this.history) return;
    this.playing = true;
    this.play.textContent = "⏸";
    this.play.setAttribute("aria-label", "Pause");
    if (this.t === this.history.steps.length - 1) this.go(0);
    this.timer = setInterval(() => {
      if (this.t === this.history.steps.length - 1) this.stop();
      else this.go(this.t + 1);
    }, TIME_STOP_MS);
  }

  stop() {
    clearInterval(this.timer);
    this.playing = false;
    this.play.textContent = "▶";
    this.play.setAttribute("aria-label", "Play through the checkpoints");
  }

  release() {
    this.stop();
    cancelAnimationFrame(this.moving);
    this.ribbon.release();
  }
}
