// Sizes, times, names and sentences as the page writes them.
import { expect, it } from 'vitest';
import { TEXTS, t } from './texts';
import { bytes, duration, fileName, sentence } from './words';

it('writes sizes', () => {
  expect([0, 999, 1500, 52_428_800, 12_000_000_000].map(bytes)).toEqual(['0 bytes', '999 bytes', '1.5 kB', '52 MB', '12 GB']);
});

it('writes times', () => {
  expect([0, 42, 180, 7200, 90_000].map(duration)).toEqual(['1 s', '42 s', '3 min', '2.0 h', '25 h']);
});

it('counts', () => {
  expect([t.pictures(1), t.pictures(12345)]).toEqual(['1 picture', '12,345 pictures']);
});

it('names files', () => {
  expect([fileName('a/b/c.jpg'), fileName('c.jpg')]).toEqual(['c.jpg', 'c.jpg']);
});

it('begins sentences with a capital and ends them with a full stop, but leaves file names alone', () => {
  expect(['this is not a picture', 'It is.', 'notes.png: this is not a picture', ''].map(sentence)).toEqual([
    'This is not a picture.',
    'It is.',
    'notes.png: this is not a picture.',
    '',
  ]);
});

it('has a German text for every English one, and neither twice', () => {
  const leaves = (value: object, path = ''): [string, unknown][] =>
    Object.entries(value).flatMap(([key, inner]) => (typeof inner === 'object' && inner ? leaves(inner as object, `${path}${key}.`) : [[`${path}${key}`, inner]]));
  const [english, german] = [leaves(TEXTS.en), leaves(TEXTS.de)];
  expect(german.map(([path]) => path)).toEqual(english.map(([path]) => path));
  expect(german.filter(([, text]) => text === '')).toEqual([]);
});
