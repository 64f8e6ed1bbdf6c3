// The justified grid: pictures in rows of nearly equal height that fill the width, in the order of the ranking.
// Pure arithmetic, so that 10,000 pictures are laid out in a few milliseconds and only the visible rows need elements.

export interface Box {
  left: number;
  top: number;
  width: number;
  height: number;
}

/** Pictures `first` to `end` (exclusive) share one row. */
export interface Row {
  first: number;
  end: number;
  top: number;
  height: number;
}

export interface Layout {
  boxes: Box[];
  rows: Row[];
  height: number;
}

// Beyond these, a picture is cropped in the grid: one panorama must not fill a screen, nor one receipt.
const RATIO_MIN = 0.45;
const RATIO_MAX = 3.2;
// The last row is not stretched to the full width, only made a little higher if that fills it.
const LAST_ROW_STRETCH_MAX = 1.25;

export function ratioOf(picture: { width: number; height: number }): number {
  if (!(picture.width > 0) || !(picture.height > 0)) return 1;
  return Math.min(RATIO_MAX, Math.max(RATIO_MIN, picture.width / picture.height));
}

const ROW_MIN = 116;
const ROW_MAX = 240;
// Small pictures (icons, drawings) are enlarged this much and no more, so that they stay crisp.
const ENLARGE_MAX = 1.25;
// The first pictures decide, so that nothing moves when more come.
export const SAMPLE = 40;

/** A row's height follows the width, small on a phone and larger on a wide screen, and the size of the pictures. */
export function rowHeight(width: number, pictures: readonly { height: number }[]): number {
  const heights = pictures.slice(0, SAMPLE).map(({ height }) => height).sort((a, b) => a - b);
  const usual = heights[heights.length >> 1] || ROW_MAX;
  return Math.round(Math.max(ROW_MIN, Math.min(ROW_MAX, width / 5.2, usual * ENLARGE_MAX)));
}

/** Before picture `at`, a new row begins, with `space` above it for a heading. */
export interface Divide {
  at: number;
  space: number;
}

/** `divides` in the order of the pictures. */
export function justify(ratios: readonly number[], width: number, target: number, gap: number, divides: readonly Divide[] = []): Layout {
  const layout: Layout = { boxes: [], rows: [], height: 0 };
  if (width <= 0) return layout;
  let from = 0;
  for (const { at, space } of divides) {
    if (at < from || at >= ratios.length) continue;
    fill(layout, ratios, from, at, width, target, gap);
    layout.height += space;
    from = at;
  }
  fill(layout, ratios, from, ratios.length, width, target, gap);
  return layout;
}

function fill(layout: Layout, ratios: readonly number[], from: number, to: number, width: number, target: number, gap: number) {
  const fillingHeight = (sum: number, count: number) => (width - gap * (count - 1)) / sum;

  let first = from;
  let sum = 0;
  for (let index = from; index < to; index++) {
    const ratio = ratios[index]!;
    const count = index - first;
    if (count > 0 && fillingHeight(sum + ratio, count + 1) < target) {
      // Whichever comes nearer to the wanted height: the row with this picture, or without it.
      const withIt = fillingHeight(sum + ratio, count + 1);
      const without = fillingHeight(sum, count);
      if (without / target < target / withIt) {
        place(layout, ratios, first, index, without, width, gap);
        first = index;
        sum = 0;
      }
    }
    sum += ratio;
    if (fillingHeight(sum, index + 1 - first) <= target) {
      place(layout, ratios, first, index + 1, fillingHeight(sum, index + 1 - first), width, gap);
      first = index + 1;
      sum = 0;
    }
  }
  if (first < to) {
    const filling = fillingHeight(sum, to - first);
    const height = filling <= target * LAST_ROW_STRETCH_MAX ? filling : target;
    place(layout, ratios, first, to, height, width, gap);
  }
}

function place(layout: Layout, ratios: readonly number[], first: number, end: number, height: number, width: number, gap: number) {
  const top = layout.height + (layout.rows.length > 0 ? gap : 0);
  const rounded = Math.round(height);
  let exact = 0;
  for (let index = first; index < end; index++) {
    const left = Math.round(exact);
    exact += ratios[index]! * height;
    // Edges are rounded, not widths, so that the row ends exactly at the right border.
    const right = Math.min(width, Math.round(exact));
    layout.boxes.push({ left, top, width: right - left, height: rounded });
    exact += gap;
  }
  layout.rows.push({ first, end, top, height: rounded });
  layout.height = top + rounded;
}

/** The pictures in rows that touch the stretch from `top` to `bottom`. */
export function visible(layout: Layout, top: number, bottom: number): { first: number; end: number } {
  const from = rowAt(layout.rows, top);
  if (from >= layout.rows.length) return { first: 0, end: 0 };
  let to = from;
  while (to < layout.rows.length && layout.rows[to]!.top < bottom) to++;
  return { first: layout.rows[from]!.first, end: to > from ? layout.rows[to - 1]!.end : layout.rows[from]!.first };
}

/** The first row that ends below `top`. */
function rowAt(rows: readonly Row[], top: number): number {
  let low = 0;
  let high = rows.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    const row = rows[middle]!;
    if (row.top + row.height <= top) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The first picture that reaches below `top`; -1 if none does. */
export function firstBelow(layout: Layout, top: number): number {
  return layout.rows[rowAt(layout.rows, top)]?.first ?? -1;
}

/** Where a key leads from a picture; the same picture if there is nothing that way, `null` for keys that do not move. */
export function neighbour(layout: Layout, index: number, key: string): number | null {
  const last = layout.boxes.length - 1;
  if (last < 0) return null;
  switch (key) {
    case 'ArrowLeft':
      return Math.max(0, index - 1);
    case 'ArrowRight':
      return Math.min(last, index + 1);
    case 'Home':
      return 0;
    case 'End':
      return last;
    case 'ArrowUp':
    case 'ArrowDown': {
      const rowIndex = layout.rows.findIndex((row) => index < row.end);
      const row = layout.rows[rowIndex + (key === 'ArrowUp' ? -1 : 1)];
      const box = layout.boxes[index];
      return row && box ? nearest(layout, row, box.left + box.width / 2) : index;
    }
    default:
      return null;
  }
}

function nearest(layout: Layout, row: Row, x: number): number {
  let best = row.first;
  let distance = Infinity;
  for (let index = row.first; index < row.end; index++) {
    const box = layout.boxes[index]!;
    const away = Math.abs(box.left + box.width / 2 - x);
    if (away < distance) [best, distance] = [index, away];
  }
  return best;
}
