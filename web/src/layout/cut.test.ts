// Parts of pictures are whole pixels inside of the picture.
import { describe, expect, it } from 'vitest';
import { inPixels } from './cut';

describe('inPixels', () => {
  it('takes shares of the sides', () => {
    expect(inPixels({ left: 0.25, top: 0.5, width: 0.5, height: 0.25 }, 400, 200)).toEqual({ left: 100, top: 100, width: 200, height: 50 });
  });
  it('stays inside, and is never empty', () => {
    expect(inPixels({ left: 0.999, top: 0, width: 0.5, height: 0.0001 }, 10, 10)).toEqual({ left: 9, top: 0, width: 1, height: 1 });
  });
});
