// The address survives the way there and back, whatever people type and however files are called.
import { describe, expect, it } from 'vitest';
import { readAddress, sameQuery, withWords, writeAddress, type Address } from './address';

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
});
