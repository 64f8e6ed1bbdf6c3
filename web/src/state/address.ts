// What the address bar says: the query and the picture that is open. Everything that can be shared or gone back to
// passes through here. A picture brought by the user has no address; the history entry remembers its number.

export type Query =
  | { kind: 'none' }
  | { kind: 'text'; text: string }
  | { kind: 'like'; name: string }
  | { kind: 'picture'; id: number };

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
  if (text) return { kind: 'text', text };
  const name = params.get('like');
  if (name) return { kind: 'like', name };
  const id = (state as { picture?: unknown } | null)?.picture;
  return typeof id === 'number' ? { kind: 'picture', id } : { kind: 'none' };
}

export function writeAddress({ query, open }: Address): { url: string; state: { picture?: number } } {
  const params = new URLSearchParams();
  if (query.kind === 'text') params.set('q', query.text);
  if (query.kind === 'like') params.set('like', query.name);
  if (open) params.set('image', open);
  const search = params.toString();
  return { url: search ? `/?${search}` : '/', state: query.kind === 'picture' ? { picture: query.id } : {} };
}

export function sameQuery(a: Query, b: Query): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
