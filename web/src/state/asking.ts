// The ways to ask: typing, a chip, a picture of the user, one of the results. All end in the address.
import { tick } from 'svelte';
import { textOf, withFilter, withNot, withoutPicture as wordsOf, withWords, type Query } from './address';
import { canCombine } from './combining';
import { debounce } from './debounce';
import type { Filter } from './filter';
import { navigation } from './navigation.svelte';
import { panels } from './panels.svelte';
import { keepPicture, pictureOf } from './pictures';
import { recent } from './recent.svelte';
import { live } from './status.svelte';
import { t } from '../texts';
import { bytes } from '../words';

const TYPING_PAUSE_MS = 200;

export const typed = debounce((text: string) => {
  const words = text.trim();
  const { query } = navigation.address;
  const beside: Query = canCombine() || query.kind === 'text' ? query : only(query);
  navigation.search(withWords(beside, words), true);
}, TYPING_PAUSE_MS);

/** Enter: what is typed is meant. */
export function submit() {
  typed.flush();
  navigation.settle();
  recent.add(textOf(navigation.address.query));
}

export function searchFor(text: string) {
  typed.cancel();
  navigation.search({ ...only(navigation.address.query), kind: 'text', text });
  navigation.settle();
  recent.add(text);
}

export function goHome() {
  typed.cancel();
  const { query } = navigation.address;
  if (query.kind !== 'none' || query.filter) navigation.search({ kind: 'none' });
  else window.scrollTo(0, 0);
}

/** The words stay, the picture beside them goes. */
export function withoutPicture() {
  typed.cancel();
  navigation.search(wordsOf(navigation.address.query));
}

export function alike(name: string) {
  typed.cancel();
  navigation.search({ ...only(navigation.address.query), kind: 'like', name });
  // What was clicked is gone; the heading is the natural place to go on.
  void tick().then(() => document.querySelector<HTMLElement>('h1')?.focus({ preventScroll: true }));
}

export async function searchWith(file: File) {
  panels.message = '';
  const bytesMax = live.now?.limits.query_picture_bytes_max ?? Infinity;
  if (file.type && !file.type.startsWith('image/')) {
    panels.message = t.field.notPicture(file.name);
    return;
  }
  const id = await keepPicture(file);
  // What this browser can read was made smaller; only what it cannot can be too large.
  if ((pictureOf(id)?.size ?? 0) > bytesMax) {
    panels.message = t.field.tooLarge(file.name, bytes(bytesMax));
    return;
  }
  typed.cancel();
  const words = canCombine() ? textOf(navigation.address.query) : '';
  navigation.search({ ...only(navigation.address.query), kind: 'picture', id, ...(words ? { text: words } : {}) });
}

/** The field is emptied; the filter stays. */
export function clearSearch() {
  typed.cancel();
  navigation.search(only(navigation.address.query));
}

/** What was asked is not like this picture, or not these words. */
export function refine(kind: 'not' | 'notLike', what: string, isNot: boolean) {
  const { query } = navigation.address;
  if (query.kind === 'none') return;
  typed.cancel();
  navigation.search(withNot(query, kind, what, isNot));
  navigation.settle();
}

/** How much the words count beside the picture. */
export const weigh = debounce((mix: number) => {
  const { query } = navigation.address;
  if (query.kind === 'like' || query.kind === 'picture') navigation.search({ ...query, mix }, true);
}, TYPING_PAUSE_MS);

export function filterBy(filter: Filter) {
  typed.cancel();
  navigation.search(withFilter(navigation.address.query, filter));
  navigation.settle();
}

/** Only pictures of this folder or camera: what was typed to find it is not searched for. */
export function onlyIn(part: Filter) {
  typed.cancel();
  const { query } = navigation.address;
  navigation.search(withFilter(withWords(query, ''), { ...query.filter, ...part }));
  navigation.settle();
}

/** The filter without a question. */
function only({ filter }: Query): { kind: 'none'; filter?: Filter } {
  return { kind: 'none', ...(filter ? { filter } : {}) };
}
