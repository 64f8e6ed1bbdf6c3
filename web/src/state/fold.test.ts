// The fold, with and without what ratings moved.
import { describe, expect, it } from 'vitest';
import type { Strength } from '../api/client';
import { foldOf } from './fold';

const LETTERS: Record<string, Strength> = { s: 'strong', f: 'fair', w: 'weak' };
const list = (strengths: string) => [...strengths].map((letter, index) => ({ image_name: `${index}`, ...(LETTERS[letter] ? { strength: LETTERS[letter] } : {}) }));
const fold = (strengths: string, thumbs: [string, boolean][] = []) => foldOf(list(strengths), new Map(thumbs));

describe('foldOf', () => {
  it('is the first weak picture of a list in order', () => {
    expect(fold('ssffww')).toBe(4);
    expect(fold('wwww')).toBe(0);
    expect(fold('ssff')).toBe(-1);
    expect(fold('----')).toBe(-1);
    expect(fold('')).toBe(-1);
  });
  it('stays where most of the weak begin, when some were moved', () => {
    expect(fold('wssffwwww')).toBe(5);
    expect(fold('ssffwwws')).toBe(4);
  });
  it('takes what the user likes for a match', () => {
    expect(fold('wwww', [['0', true]])).toBe(1);
    expect(fold('wwww', [['0', false]])).toBe(0);
  });
});
