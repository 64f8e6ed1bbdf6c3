// What the address bar says: the query and the picture that is open. Everything that can be shared or gone back to
// passes through here. A picture brought by the user has no address; the history entry remembers its number.
import { isEmptyFilter, readFilter, writeFilter, type Filter } from './filter';

/** What goes with any question. */
interface Beside {
  /** Only these. */
  filter?: Filter;
}

/** What goes with a question for likeness: what it is not, and how words and picture weigh against each other. */
interface Refined extends Beside {
  not?: string[];
  notLike?: string[];
  /** Share of the words in per cent, where there is a picture too; 50 if missing. */
  mix?: number;
}

/** Words, a picture, or both: words beside a picture narrow it down (where the server can). */
export type Query =
  | ({ kind: 'none' } & Beside)
  | ({ kind: 'text'; text: string } & Refined)
  | ({ kind: 'like'; name: string; text?: string } & Refined)
  | ({ kind: 'picture'; id: number; text?: string } & Refined);

export type Search = Exclude<Query, { kind: 'none' }>;

export interface Address {
  query: Query;
  /** Name of the picture shown large. */
  open: string | null;
}

export const MIX_EVEN = 50;
export const MIX_MIN = 10;
export const MIX_MAX = 90;

export function readAddress(search: string, state: unknown): Address {
  const params = new URLSearchParams(search);
  return { query: readQuery(params, state), open: params.get('image') || null };
}

function readQuery(params: URLSearchParams, state: unknown): Query {
  const text = params.get('q')?.trim();
  const beside = text ? { text } : {};
  const filter = readFilter(params);
  const filtered = isEmptyFilter(filter) ? {} : { filter };
  const refined = { ...readRefined(params), ...filtered };
  const name = params.get('like');
  if (name) return { kind: 'like', name, ...beside, ...refined };
  const id = (state as { picture?: unknown } | null)?.picture;
  if (typeof id === 'number') return { kind: 'picture', id, ...beside, ...refined };
  return text ? { kind: 'text', text, ...refined } : { kind: 'none', ...filtered };
}

function readRefined(params: URLSearchParams): Refined {
  const [not, notLike] = [params.getAll('not').filter(Boolean), params.getAll('notlike').filter(Boolean)];
  const mix = Math.round(Number(params.get('mix') ?? MIX_EVEN));
  const isMixed = mix >= MIX_MIN && mix <= MIX_MAX && mix !== MIX_EVEN;
  return { ...(not.length > 0 ? { not } : {}), ...(notLike.length > 0 ? { notLike } : {}), ...(isMixed ? { mix } : {}) };
}

export function writeAddress({ query, open }: Address): { url: string; state: { picture?: number } } {
  const params = new URLSearchParams();
  const words = textOf(query);
  if (words) params.set('q', words);
  if (query.kind === 'like') params.set('like', query.name);
  if (query.kind !== 'none') {
    for (const each of query.not ?? []) params.append('not', each);
    for (const each of query.notLike ?? []) params.append('notlike', each);
    if (query.mix !== undefined && query.mix !== MIX_EVEN) params.set('mix', String(query.mix));
  }
  writeFilter(filterOf(query), params);
  if (open) params.set('image', open);
  const search = params.toString();
  return { url: search ? `/?${search}` : '/', state: query.kind === 'picture' ? { picture: query.id } : {} };
}

export function textOf(query: Query): string {
  return query.kind === 'none' ? '' : (query.text ?? '');
}

export function filterOf(query: Query): Filter {
  return query.filter ?? {};
}

/** Whether it says more than words or a picture alone. */
export function isRefined(query: Query): boolean {
  return query.kind !== 'none' && Boolean(query.not?.length || query.notLike?.length || (query.kind !== 'text' && query.text));
}

/** The same question, of other pictures. */
export function withFilter(query: Query, filter: Filter): Query {
  const { filter: _, ...rest } = query;
  return isEmptyFilter(filter) ? rest : { ...rest, filter };
}

/** The same query with other words; without a picture, no words ask for nothing. */
export function withWords(query: Query, words: string): Query {
  const filtered = query.filter ? { filter: query.filter } : {};
  if (query.kind === 'none') return words ? { kind: 'text', text: words, ...filtered } : query;
  if (query.kind === 'text') return words ? { ...query, text: words } : { kind: 'none', ...filtered };
  const { text: _, mix, ...rest } = query;
  // Without words there is nothing to weigh.
  return words ? { ...rest, text: words, ...(mix === undefined ? {} : { mix }) } : rest;
}

/** The words without the picture beside them. */
export function withoutPicture(query: Query): Query {
  if (query.kind !== 'like' && query.kind !== 'picture') return query;
  const { not, notLike, filter } = query;
  const rest = { ...(not ? { not } : {}), ...(notLike ? { notLike } : {}), ...(filter ? { filter } : {}) };
  return query.text ? { kind: 'text', text: query.text, ...rest } : { kind: 'none', ...(filter ? { filter } : {}) };
}

/** The same search with one more thing that it is not, or one less. */
export function withNot(query: Search, kind: 'not' | 'notLike', what: string, isNot: boolean): Search {
  const others = (query[kind] ?? []).filter((each) => each !== what);
  const next = isNot ? [...others, what] : others;
  const { [kind]: _, ...rest } = query;
  return next.length > 0 ? { ...rest, [kind]: next } : (rest as Search);
}

export function sameQuery(a: Query, b: Query): boolean {
  const key = (query: Query) => JSON.stringify(writeAddress({ query, open: null }));
  return key(a) === key(b);
}
