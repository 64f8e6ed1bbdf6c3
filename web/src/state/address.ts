// What the address bar says: the query and the picture that is open. Everything that can be shared or gone back to
// passes through here. A picture brought by the user has no address; the history entry remembers its number.

/** Words, a picture, or both: words beside a picture narrow it down (where the server can). */
export type Query =
  | { kind: 'none' }
  | { kind: 'text'; text: string }
  | { kind: 'like'; name: string; text?: string }
  | { kind: 'picture'; id: number; text?: string };

export interface Address {
  query: Query;
  /** Name of the picture shown large. */
  open: string | null;
}

export function readAddress(search: string, state: unknown): Address {
  const params = new URLSearchParams(search);
  return { query: readQuery(params, state), open: params.get('image') || null };
}

function readQuery(params: URLSearchParams, state: unknown): Query {
  const text = params.get('q')?.trim();
  const beside = text ? { text } : {};
  const name = params.get('like');
  if (name) return { kind: 'like', name, ...beside };
  const id = (state as { picture?: unknown } | null)?.picture;
  if (typeof id === 'number') return { kind: 'picture', id, ...beside };
  return text ? { kind: 'text', text } : { kind: 'none' };
}

export function writeAddress({ query, open }: Address): { url: string; state: { picture?: number } } {
  const params = new URLSearchParams();
  const words = textOf(query);
  if (words) params.set('q', words);
  if (query.kind === 'like') params.set('like', query.name);
  if (open) params.set('image', open);
  const search = params.toString();
  return { url: search ? `/?${search}` : '/', state: query.kind === 'picture' ? { picture: query.id } : {} };
}

export function textOf(query: Query): string {
  return query.kind === 'none' ? '' : (query.text ?? '');
}

/** The same query with other words; without a picture, no words ask for nothing. */
export function withWords(query: Query, words: string): Query {
  if (query.kind === 'like') return { kind: 'like', name: query.name, ...(words ? { text: words } : {}) };
  if (query.kind === 'picture') return { kind: 'picture', id: query.id, ...(words ? { text: words } : {}) };
  return words ? { kind: 'text', text: words } : { kind: 'none' };
}

export function sameQuery(a: Query, b: Query): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
