// @ts-check
/** What the two-view probe shows as a PNG with a line of provenance: the page's own elements, drawn through an SVG. */

const PICTURE_SCALE = 2;

/** Rules of this widget's sheets; a picture has no page around it to style it. */
function rulesForPicture() {
  const rules = [...document.styleSheets].flatMap((sheet) => {
    try {
      return [...sheet.cssRules];
    } catch {
      return []; // a sheet of another origin
    }
  });
  return rules.map((rule) => rule.cssText).filter((text) => text.includes(".twist")).join("\n");
}

/** A copy of an element that shows the same without the page: canvases become images, controls go. */
function standAlone(/** @type {HTMLElement} */ node) {
  const copy = /** @type {HTMLElement} */ (node.cloneNode(true));
  const copies = copy.querySelectorAll("canvas");
  node.querySelectorAll("canvas").forEach((canvas, k) => {
    const image = make("img", { src: canvas.toDataURL(), alt: "" });
    image.style.cssText = canvas.style.cssText;
    copies[k].replaceWith(image);
  });
  copy.querySelectorAll("button, select, [hidden]").forEach((control) => control.remove());
  return copy;
}

/** @returns {Promise<Blob | null>} */
async function pictureOf(/** @type {HTMLElement} */ root, /** @type {HTMLElement} */ node, title, caption) {
  const [width, colors] = [node.offsetWidth + 32, getComputedStyle(root)];
  const page = make("div", { class: root.className }, make("p", { class: "twist-title", text: title }),
    standAlone(node), make("p", { class: "twist-caption", text: caption }));
  page.style.cssText = `box-sizing: border-box; width: ${width}px; padding: 16px; --paper: ` +
    `${colors.getPropertyValue("--paper")}; --ink: ${colors.getPropertyValue("--ink")}; color: ${colors.color}; ` +
    `background: ${colors.backgroundColor}; font-size: 13px`;
  page.prepend(make("style", { text: rulesForPicture() }));
  const height = node.offsetHeight + 96;
  page.style.minHeight = `${height}px`;
  const svg = makeSvgNode("svg", { width, height, viewBox: `0 0 ${width} ${height}` },
    makeSvgNode("foreignObject", { width, height }, page));
  const text = new XMLSerializer().serializeToString(svg);
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
  await image.decode();
  const canvas = make("canvas", { width: width * PICTURE_SCALE, height: height * PICTURE_SCALE });
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

/** Hand a file to the person. */
function saveAs(/** @type {Blob} */ blob, name) {
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
