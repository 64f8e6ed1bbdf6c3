// Where pictures lie in time: by year, or by month when they are of one or two years; every picture is counted once.
import { describe, expect, it } from 'vitest';
import { bucketsOf, stretch } from './buckets';

const months = (counts: Record<string, number>) => Object.entries(counts).map(([value, images]) => ({ value, images }));

describe('buckets', () => {
  it('are years with the empty ones between', () => {
    const buckets = bucketsOf(months({ '2019-05': 1, '2022-01': 1, '2022-12': 3 }), null, String);
    expect(buckets.map(({ label, count }) => [label, count])).toEqual([['2019', 1], ['2020', 0], ['2021', 0], ['2022', 4]]);
    expect(buckets[0]).toMatchObject({ from: '2019-01-01', to: '2019-12-31' });
  });

  it('are months when all is of one year, or one is asked for', () => {
    for (const [more, year] of [[{}, null], [{ '2019-01': 5 }, '2024']] as const) {
      const buckets = bucketsOf(months({ ...more, '2024-02': 2, '2024-11': 1 }), year, String);
      expect(buckets).toHaveLength(12);
      expect(buckets.filter(({ count }) => count > 0).map(({ label, count }) => [label, count])).toEqual([['2024-02', 2], ['2024-11', 1]]);
    }
  });

  it('end with the last day of a month', () => {
    expect([stretch('2024-02'), stretch('2023-02'), stretch('2024-12'), stretch('2024')].map(({ to }) => to)).toEqual(['2024-02-29', '2023-02-28', '2024-12-31', '2024-12-31']);
  });

  it('there are none without pictures', () => expect(bucketsOf([], null, String)).toEqual([]));
});
