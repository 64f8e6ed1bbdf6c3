// The grid's arithmetic: rows fill the width, nothing overlaps, adding pictures never moves earlier rows.
import { describe, expect, it } from 'vitest';
import { firstBelow, justify, neighbour, ratioOf, rowHeight, visible } from './justified';

const ratios = Array.from({ length: 500 }, (_, index) => [1.5, 0.66, 1, 1.78, 0.75, 2.4][(index * 7) % 6]!);
const layout = justify(ratios, 1000, 200, 8);

describe('justify', () => {
  it('fills every row but the last exactly', () => {
    for (const row of layout.rows.slice(0, -1)) {
      const last = layout.boxes[row.end - 1]!;
      expect(last.left + last.width).toBe(1000);
      expect(layout.boxes[row.first]!.left).toBe(0);
    }
  });

  it('keeps rows near the wanted height', () => {
    for (const row of layout.rows) {
      expect(row.height).toBeGreaterThan(120);
      expect(row.height).toBeLessThan(330);
    }
  });

  it('places every picture once, in order, without overlap', () => {
    expect(layout.boxes).toHaveLength(500);
    for (const row of layout.rows) {
      for (let index = row.first + 1; index < row.end; index++) {
        const before = layout.boxes[index - 1]!;
        expect(layout.boxes[index]!.left).toBe(before.left + before.width + 8);
      }
    }
  });

  it('leaves complete rows where they are when more pictures come', () => {
    const shorter = justify(ratios.slice(0, 200), 1000, 200, 8);
    const settled = shorter.rows.at(-2)!.first;
    expect(layout.boxes.slice(0, settled)).toEqual(shorter.boxes.slice(0, settled));
  });

  it('does not blow up one single picture', () => {
    expect(justify([1], 1000, 200, 8).boxes[0]).toEqual({ left: 0, top: 0, width: 200, height: 200 });
  });

  it('knows nothing to lay out', () => {
    expect(justify([], 1000, 200, 8).height).toBe(0);
    expect(justify([1], 0, 200, 8).boxes).toEqual([]);
  });

  it('lays out 10,000 pictures quickly', () => {
    const many = Array.from({ length: 10_000 }, (_, index) => ratios[index % 500]!);
    const before = performance.now();
    expect(justify(many, 1400, 220, 8).boxes).toHaveLength(10_000);
    expect(performance.now() - before).toBeLessThan(100);
  });
});

describe('visible', () => {
  it('names the pictures of the rows in sight and no others', () => {
    const row = layout.rows[10]!;
    expect(visible(layout, row.top + 1, row.top + 2)).toEqual({ first: row.first, end: row.end });
    expect(visible(layout, -500, 1)).toEqual({ first: 0, end: layout.rows[0]!.end });
    expect(visible(layout, layout.height + 1, layout.height + 900)).toEqual({ first: 0, end: 0 });
  });
});

describe('neighbour', () => {
  it('moves along and across rows', () => {
    const second = layout.rows[1]!;
    expect(neighbour(layout, 0, 'ArrowRight')).toBe(1);
    expect(neighbour(layout, 0, 'ArrowLeft')).toBe(0);
    expect(neighbour(layout, 0, 'ArrowDown')).toBe(second.first);
    expect(neighbour(layout, second.first, 'ArrowUp')).toBe(0);
    expect(neighbour(layout, 0, 'ArrowUp')).toBe(0);
    expect(neighbour(layout, 3, 'End')).toBe(499);
    expect(neighbour(layout, 3, 'x')).toBeNull();
  });
});

describe('ratioOf', () => {
  it('crops what is too wide or too tall, and survives unknown sizes', () => {
    expect(ratioOf({ width: 3, height: 2 })).toBe(1.5);
    expect(ratioOf({ width: 9000, height: 100 })).toBe(3.2);
    expect(ratioOf({ width: 0, height: 0 })).toBe(1);
  });

});

describe('rowHeight', () => {
  it('gives larger pictures to wider screens', () => {
    expect(rowHeight(360, [])).toBeLessThan(rowHeight(1400, []));
  });

  it('does not blow up icons', () => {
    expect(rowHeight(1400, Array.from({ length: 9 }, () => ({ height: 128 })))).toBe(160);
  });
});

describe('several divides', () => {
  it('begin a row each, also above the first picture, and lose no picture', () => {
    const divides = [0, 1, 2, 40].map((at) => ({ at, space: 48 }));
    const layout = justify(ratios, 1000, 200, 8, divides);
    expect(layout.boxes).toHaveLength(ratios.length);
    expect(layout.boxes[0]!.top).toBe(48);
    for (const { at } of divides) expect(layout.rows.some(({ first }) => first === at)).toBe(true);
    expect(layout.rows.map(({ top }) => top)).toEqual(layout.rows.map(({ top }) => top).toSorted((a, b) => a - b));
    expect(justify(ratios, 1000, 200, 8, [{ at: ratios.length, space: 48 }])).toEqual(justify(ratios, 1000, 200, 8));
  });
});

describe('divide', () => {
  const divided = justify(ratios, 1000, 200, 8, [{ at: 33, space: 56 }]);

  it('begins a new row, below a space, and leaves everything before it in place', () => {
    const settled = layout.rows.find(({ end }) => end > 33)!.first;
    expect(divided.boxes.slice(0, settled)).toEqual(layout.boxes.slice(0, settled));
    const row = divided.rows.find(({ first }) => first === 33)!;
    const above = divided.rows[divided.rows.indexOf(row) - 1]!;
    expect(above.end).toBe(33);
    expect(row.top - (above.top + above.height)).toBe(56 + 8);
    expect(divided.boxes).toHaveLength(500);
  });

  it('does nothing outside the list', () => {
    for (const at of [-1, 500, 900]) expect(justify(ratios, 1000, 200, 8, [{ at, space: 56 }])).toEqual(layout);
  });
});

it('finds the first picture in sight', () => {
  expect(firstBelow(layout, 0)).toBe(0);
  const row = layout.rows[7]!;
  expect(firstBelow(layout, row.top + 1)).toBe(row.first);
  expect(firstBelow(layout, layout.height + 1)).toBe(-1);
});
