// The address survives the way there and back, whatever people type and however files are called.
import { describe, expect, it } from 'vitest';
import { readAddress, sameQuery, withNot, withoutPicture, withWords, writeAddress, type Address } from './address';

const round = (address: Address) => {
  const { url, state } = writeAddress(address);
  return readAddress(new URL(url, 'http://localhost').search, state);
};

describe('address', () => {
  it.each<Address>([
    { query: { kind: 'none' }, open: null },
    { query: { kind: 'text', text: 'a red car & 100% "fun" + 東京' }, open: null },
    { query: { kind: 'like', name: 'holiday/größe #1?.jpg' }, open: 'b/ä&c.png' },
    { query: { kind: 'picture', id: 3 }, open: 'x.png' },
    { query: { kind: 'none' }, open: 'x.png' },
    { query: { kind: 'like', name: 'a/b.jpg', text: 'at night' }, open: null },
    { query: { kind: 'picture', id: 7, text: 'at night' }, open: null },
    { query: { kind: 'like', name: 'a', text: 'b', not: ['red & green', 'c'], notLike: ['x/y.png'], mix: 70, filter: { folder: 'd', shape: 'square' } }, open: null },
    { query: { kind: 'none', filter: { from: '2024-01-01' } }, open: 'x.png' },
  ])('comes back as it was: %j', (address) => {
    expect(round(address)).toEqual(address);
  });

  it('takes blank words for none', () => {
    expect(readAddress('?q=%20%20', null).query).toEqual({ kind: 'none' });
  });

  it('stays short when there is nothing to say', () => {
    expect(writeAddress({ query: { kind: 'none' }, open: null }).url).toBe('/');
  });

  it('compares queries by what they ask', () => {
    expect(sameQuery({ kind: 'text', text: 'a' }, { kind: 'text', text: 'a' })).toBe(true);
    expect(sameQuery({ kind: 'text', text: 'a' }, { kind: 'like', name: 'a' })).toBe(false);
  });

  it('puts words beside a picture, and takes them away again', () => {
    const like = { kind: 'like', name: 'a' } as const;
    expect(withWords(like, 'red')).toEqual({ kind: 'like', name: 'a', text: 'red' });
    expect(withWords(withWords(like, 'red'), '')).toEqual(like);
    expect(withWords({ kind: 'text', text: 'red' }, '')).toEqual({ kind: 'none' });
  });

  it('keeps the filter whatever is asked, and the weight only while there is something to weigh', () => {
    const filter = { folder: 'a' };
    expect(withWords({ kind: 'none', filter }, 'red')).toEqual({ kind: 'text', text: 'red', filter });
    expect(withWords({ kind: 'text', text: 'red', filter }, '')).toEqual({ kind: 'none', filter });
    expect(withWords({ kind: 'like', name: 'a', text: 'red', mix: 70, filter }, '')).toEqual({ kind: 'like', name: 'a', filter });
    expect(withoutPicture({ kind: 'like', name: 'a', text: 'red', mix: 70, not: ['b'], filter })).toEqual({ kind: 'text', text: 'red', not: ['b'], filter });
  });

  it('notes what a search is not, once', () => {
    const red = { kind: 'text', text: 'red' } as const;
    const without = withNot(withNot(red, 'notLike', 'a', true), 'notLike', 'a', true);
    expect(without).toEqual({ kind: 'text', text: 'red', notLike: ['a'] });
    expect(withNot(without, 'notLike', 'a', false)).toEqual(red);
  });
});
