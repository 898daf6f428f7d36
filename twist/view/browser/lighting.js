// ---------------------------------------------------------------------------------------------------------------------
// Lighting: whether the page is dark, how wide a view is, and whether anyone can see it.

/** Variables of a host that say what its paper is, the most telling first. */
const PAPERS = ["--jp-layout-color0", "--vscode-editor-background"];

/** A name for this tab of the browser, the same when its page is loaded again, and one for this time. */
const PAGE_LOAD = { page: "", load: String(Math.random()) };
try {
  PAGE_LOAD.page = sessionStorage.twistPage ??= PAGE_LOAD.load;
} catch {
  // a page that may store nothing, as in VS Code
}

/** The paper behind an element as rgb(…), and whether it is dark: what the host says, else what is painted. */
function paperOf(el) {
  const probe = make("span");
  probe.style.display = "none";
  el.append(probe);
  const styles = getComputedStyle(el);
  let paper = "";
  for (const name of PAPERS) {
    const value = styles.getPropertyValue(name).trim();
    if (!value) continue;
    probe.style.color = value; // as rgb, whatever it was written as
    paper = getComputedStyle(probe).color;
    break;
  }
  probe.remove();
  for (let node = el; !paper && node; node = node.parentElement) {
    const { backgroundColor } = getComputedStyle(node);
    if (!/rgba\(.*, 0\)|transparent/.test(backgroundColor) && !node.closest(".twist")) paper = backgroundColor;
  }
  const channels = paper.match(/[\d.]+/g)?.slice(0, 3).map(Number);
  if (!channels) return { dark: matchMedia("(prefers-color-scheme: dark)").matches, paper: "" };
  return { dark: 0.2126 * channels[0] + 0.7152 * channels[1] + 0.0722 * channels[2] < 128, paper };
}

/**
 * Tell Python about one view's page, now and whenever it changes; returns what ends it.
 * @param {Model} model  @param {HTMLElement} el  an element as wide as the view
 */
function watchLighting(model, el) {
  const view = crypto.randomUUID?.() ?? String(Math.random());
  let told = "", inView = true, timer = 0, watching = false;
  const say = (message) => {
    try {
      model.send({ do: "lighting", view, ...message });
    } catch {
      // its kernel was started anew, and nobody follows the page
    }
  };
  const tell = () => {
    if (!watching && el.isConnected) {
      watching = true;
      scrolled.observe(el.closest(".widget-box") ?? el); // the whole view, of which this may be a small part
    }
    const width = Math.round(el.getBoundingClientRect().width);
    const facts = { ...paperOf(el), width, seen: inView && !document.hidden && width > 0 };
    const words = JSON.stringify(facts);
    if (words === told) return;
    told = words;
    say({ ...PAGE_LOAD, ...facts });
  };
  const soon = () => {
    clearTimeout(timer);
    timer = setTimeout(tell, 120);
  };
  const resized = new ResizeObserver(soon);
  const repainted = new MutationObserver(soon);
  const scrolled = new IntersectionObserver((entries) => {
    inView = entries[entries.length - 1].isIntersecting;
    soon();
  });
  const preferred = matchMedia("(prefers-color-scheme: dark)");
  resized.observe(el);
  for (const node of [document.documentElement, document.body]) repainted.observe(node, { attributes: true });
  preferred.addEventListener("change", soon);
  document.addEventListener("visibilitychange", soon);
  soon();
  return () => {
    clearTimeout(timer);
    resized.disconnect();
    repainted.disconnect();
    scrolled.disconnect();
    preferred.removeEventListener("change", soon);
    document.removeEventListener("visibilitychange", soon);
    say({ gone: true });
  };
}
