// Where pictures lie in time: by year, or by month when they are of one or two years; every picture is counted once.
import { describe, expect, it } from 'vitest';
import { bucketsOf, stretch } from './filtering.svelte';

describe('buckets', () => {
  it('are years with the empty ones between', () => {
    const buckets = bucketsOf(['2019-05-01', '2022-01-01', '2022-12-31'], String);
    expect(buckets.map(({ label, count }) => [label, count])).toEqual([['2019', 1], ['2020', 0], ['2021', 0], ['2022', 2]]);
    expect(buckets[0]).toMatchObject({ from: '2019-01-01', to: '2019-12-31' });
  });

  it('are months when all is of one year', () => {
    const buckets = bucketsOf(['2024-02-03', '2024-02-29', '2024-11-30'], String);
    expect(buckets).toHaveLength(12);
    expect(buckets.filter(({ count }) => count > 0).map(({ label, count }) => [label, count])).toEqual([['2024-02', 2], ['2024-11', 1]]);
  });

  it('end with the last day of a month', () => {
    expect([stretch('2024-02'), stretch('2023-02'), stretch('2024-12'), stretch('2024')].map(({ to }) => to)).toEqual(['2024-02-29', '2023-02-28', '2024-12-31', '2024-12-31']);
  });

  it('there are none without pictures', () => expect(bucketsOf([], String)).toEqual([]));
});
