// Sizes, times and names as the page writes them.
import { expect, it } from 'vitest';
import { bytes, count, duration, fileName } from './words';

it('writes sizes', () => {
  expect([0, 999, 1500, 52_428_800, 12_000_000_000].map(bytes)).toEqual(['0 bytes', '999 bytes', '1.5 kB', '52 MB', '12 GB']);
});

it('writes times', () => {
  expect([0, 42, 180, 7200, 90_000].map(duration)).toEqual(['1 s', '42 s', '3 min', '2.0 h', '25 h']);
});

it('counts', () => {
  expect([count(1, 'picture'), count(12345, 'picture')]).toEqual(['1 picture', '12,345 pictures']);
});

it('names files', () => {
  expect([fileName('a/b/c.jpg'), fileName('c.jpg')]).toEqual(['c.jpg', 'c.jpg']);
});
