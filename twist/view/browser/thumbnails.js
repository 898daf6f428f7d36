// @ts-check
/** Thumbnails: where image i lies on the contact sheets. */
class Thumbnails {
  constructor(watch) {
    Object.assign(this, { tile: watch.tile, columns: watch.columns, perSheet: watch.per_sheet });
    this.urls = watch.sheets.map((bytes) => URL.createObjectURL(new Blob([bytes], { type: watch.sheet_type })));
    this.sheets = this.urls.map((url) => Object.assign(new Image(), { src: url }));
  }

  /** Sheet of image i and the tile's column and row on it. */
  find(i) {
    const k = i % this.perSheet;
    return [Math.floor(i / this.perSheet), k % this.columns, Math.floor(k / this.columns)];
  }

  /** A whole multiple of the tile, at least `side`, so that enlarged pixels stay square. */
  enlarged(side) {
    return this.tile * Math.max(1, Math.ceil(side / this.tile));
  }

  /** Show image i as the background of an element. */
  show(node, i, side) {
    const [sheet, x, y] = this.find(i);
    node.style.width = node.style.height = `${side}px`;
    node.style.backgroundImage = `url(${this.urls[sheet]})`;
    node.style.backgroundSize = `${this.columns * side}px auto`;
    node.style.backgroundPosition = `${-x * side}px ${-y * side}px`;
  }

  /** Draw image i centered on a point; false while its sheet is still being decoded. */
  draw(context, i, x, y, side) {
    const [sheet, column, row] = this.find(i);
    if (!this.sheets[sheet].naturalWidth) return false;
    context.imageSmoothingEnabled = side < this.tile;
    const t = this.tile;
    context.drawImage(this.sheets[sheet], column * t, row * t, t, t, x - side / 2, y - side / 2, side, side);
    return true;
  }

  release() {
    this.urls.forEach((url) => URL.revokeObjectURL(url));
  }
}
