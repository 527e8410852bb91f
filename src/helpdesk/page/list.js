// A long list of which only what can be seen is in the document. Rows may be of any height: each is measured when it
// is first drawn, and what is above the reader never moves what they read.

const OVERSCAN_PX = 400;

export class VirtualList {
  /** `draw(item, row)` fills an empty row; `guess` is the height of one not drawn yet; `stick` keeps a reader who is
   *  at the end there; `seen(items)` tells what is on the screen. */
  constructor(viewport, { key, draw, guess, stick = false, seen, label }) {
    Object.assign(this, { viewport, key, fill: draw, guess, stick, seen });
    this.sizer = document.createElement("div");
    this.sizer.className = "sizer";
    this.sizer.setAttribute("role", "list");
    this.sizer.setAttribute("aria-label", label);
    viewport.replaceChildren(this.sizer);
    Object.assign(this, { items: [], tops: [0], heights: new Map(), rows: new Map(), width: 0, atEnd: true });
    this.onscroll = () => {
      this.atEnd = this.isAtEnd();
      this.later();
    };
    viewport.addEventListener("scroll", this.onscroll, { passive: true });
    this.resized = new ResizeObserver(() => {
      if (viewport.clientWidth !== this.width) this.heights.clear();
      this.width = viewport.clientWidth;
      this.set(this.items);
    });
    this.resized.observe(viewport);
  }

  close() {
    this.viewport.removeEventListener("scroll", this.onscroll);
    this.resized.disconnect();
    cancelAnimationFrame(this.frame);
  }

  isAtEnd() {
    const { scrollTop, clientHeight, scrollHeight } = this.viewport;
    return scrollTop + clientHeight >= scrollHeight - 40;
  }

  /** Shows these items, and leaves the reader where they are. */
  set(items) {
    const stays = this.stick && this.atEnd;
    const anchor = this.find(this.viewport.scrollTop);
    const anchorKey = this.items[anchor] && this.key(this.items[anchor]);
    const offset = this.viewport.scrollTop - this.tops[anchor];
    this.items = items;
    this.place();
    if (stays) {
      this.toEnd();
    } else if (anchorKey !== undefined && this.viewport.scrollTop > 0) {
      const now = items.findIndex((item) => this.key(item) === anchorKey);
      if (now >= 0) this.viewport.scrollTop = this.tops[now] + offset;
    }
    this.draw();
  }

  toEnd() {
    this.atEnd = true;
    this.viewport.scrollTop = this.tops[this.items.length];
  }

  /** Brings an item onto the screen and its first control into focus. */
  focus(index) {
    if (index < 0 || index >= this.items.length) return;
    const { viewport, tops } = this;
    if (tops[index] < viewport.scrollTop) viewport.scrollTop = tops[index];
    else if (tops[index + 1] > viewport.scrollTop + viewport.clientHeight) viewport.scrollTop = tops[index + 1] - viewport.clientHeight;
    this.draw();
    this.rows.get(this.key(this.items[index]))?.querySelector("a, button")?.focus({ preventScroll: true });
  }

  later() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.draw();
    });
  }

  place() {
    const tops = new Float64Array(this.items.length + 1);
    this.items.forEach((item, index) => {
      tops[index + 1] = tops[index] + (this.heights.get(this.key(item)) ?? this.guess);
    });
    this.tops = tops;
    this.sizer.style.height = `${tops[this.items.length]}px`;
  }

  /** The index of the item at a height. */
  find(y) {
    let [low, high] = [0, this.items.length];
    while (low + 1 < high) {
      const middle = (low + high) >> 1;
      if (this.tops[middle] <= y) low = middle;
      else high = middle;
    }
    return low;
  }

  draw() {
    // Heights that were guessed wrong show other rows: a few rounds at most.
    for (let round = 0; round < 4 && this.round(); round += 1);
    if (this.seen && this.items.length) {
      const { scrollTop, clientHeight } = this.viewport;
      if (clientHeight > 0) this.seen(this.items.slice(this.find(scrollTop), this.find(scrollTop + clientHeight - 1) + 1));
    }
  }

  round() {
    const { viewport, items } = this;
    const top = viewport.scrollTop;
    const last = Math.min(items.length, this.find(top + viewport.clientHeight + OVERSCAN_PX) + 1);
    const anchor = this.find(top);
    const offset = top - this.tops[anchor];
    const first = this.find(Math.max(0, top - OVERSCAN_PX));
    const wanted = new Set(items.slice(first, last).map(this.key));
    for (const [key, row] of this.rows) if (!wanted.has(key)) row.remove();
    const drawn = new Map();
    const focused = document.activeElement;
    let next = this.sizer.firstChild;
    for (let index = first; index < last; index += 1) {
      const key = this.key(items[index]);
      const row = this.rows.get(key) ?? Object.assign(document.createElement("div"), { className: "item" });
      if (row.item !== items[index]) {
        const had = row.contains(focused) ? focused.dataset.focus : null;
        row.replaceChildren();
        row.setAttribute("role", "listitem");
        this.fill(items[index], row);
        row.item = items[index];
        if (had) row.querySelector(`[data-focus="${had}"]`)?.focus({ preventScroll: true });
      }
      row.setAttribute("aria-posinset", index + 1);
      row.setAttribute("aria-setsize", items.length);
      row.style.top = `${this.tops[index]}px`;
      // The document's order is the reader's, for the Tab key and screen readers. A row that is in its place already
      // stays untouched, or it would lose the focus.
      if (row === next) next = next.nextSibling;
      else this.sizer.insertBefore(row, next);
      drawn.set(key, row);
    }
    this.rows = drawn;
    let isOther = false;
    for (const [key, row] of drawn) {
      const height = row.offsetHeight;
      if (height > 0 && this.heights.get(key) !== height) {
        this.heights.set(key, height);
        isOther = true;
      }
    }
    if (!isOther) return false;
    this.place();
    if (this.stick && this.atEnd) this.toEnd();
    else viewport.scrollTop = this.tops[anchor] + offset;
    let index = first;
    for (const row of drawn.values()) row.style.top = `${this.tops[index++]}px`;
    return true;
  }
}
