// Filters survive the address, ask for whole days, and leave out what they do not know.
import { describe, expect, it } from 'vitest';
import { askedFilter, changed, readFilter, writeFilter, type Filter } from './filter';

const round = (filter: Filter) => {
  const params = new URLSearchParams();
  writeFilter(filter, params);
  return readFilter(new URLSearchParams(params.toString()));
};

describe('filter', () => {
  it.each<Filter>([
    {},
    { folder: 'holiday/größe & more' },
    { from: '2024-02-01', to: '2024-02-29' },
    { formats: ['jpeg', 'heif'], shape: 'portrait', camera: 'NIKON D750', near: { lat: -33.9, lon: 18.4, km: 25 } },
  ])('comes back as it was: %j', (filter) => {
    expect(round(filter)).toEqual(filter);
  });

  it('ignores what is no filter', () => {
    expect(readFilter(new URLSearchParams('from=yesterday&shape=round&near=1,2&type=&near=91,0,1'))).toEqual({});
  });

  it('asks for the whole last day, also at the end of a month and a leap year', () => {
    expect(askedFilter({ from: '2024-02-01', to: '2024-02-29' })).toEqual({ taken_after: '2024-02-01', taken_before: '2024-03-01' });
    expect(askedFilter({ to: '2023-12-31', shape: 'square' })).toEqual({ taken_before: '2024-01-01', orientation: 'square' });
    expect(askedFilter({})).toBeUndefined();
  });

  it('changes parts and takes them away', () => {
    expect(changed({ folder: 'a', shape: 'square' }, { folder: undefined, camera: 'x' })).toEqual({ shape: 'square', camera: 'x' });
  });
});
