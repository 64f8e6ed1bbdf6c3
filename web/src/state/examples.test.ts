// An example is worth showing when its best pictures stand out from the others.
import { expect, it } from 'vitest';
import type { Match, Strength } from '../api/client';
import { standsOut } from './examples.svelte';

const matches = (scores: number[], strength?: Strength) => scores.map((score) => ({ score, ...(strength ? { strength } : {}) }) as Match);

it('prefers what stands out to what is merely high everywhere', () => {
  const clear = standsOut(matches([0.3, 0.29, 0.2, 0.19]))!;
  const flat = standsOut(matches([0.31, 0.31, 0.3, 0.3]))!;
  expect(clear).toBeGreaterThan(flat);
});

it('believes the server where it says what fits', () => {
  expect(standsOut(matches([0.3, 0.1], 'weak'))).toBeNull();
  expect(standsOut(matches([0.21, 0.2], 'strong'))!).toBeGreaterThan(standsOut(matches([0.4, 0.1], 'fair'))!);
});

it('offers nothing where nothing is found', () => {
  expect(standsOut([])).toBeNull();
});
