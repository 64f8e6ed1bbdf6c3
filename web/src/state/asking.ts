// The ways to ask: typing, a chip, a picture of the user, one of the results. All end in the address.
import { tick } from 'svelte';
import { textOf, withWords } from './address';
import { debounce } from './debounce';
import { navigation } from './navigation.svelte';
import { panels } from './panels.svelte';
import { keepPicture, pictureOf } from './pictures';
import { recent } from './recent.svelte';
import { live } from './status.svelte';
import { t } from '../texts';
import { bytes } from '../words';

const TYPING_PAUSE_MS = 200;

/** Whether words and a picture can be searched together. */
export const canCombine = () => (live.now?.limits.queries_max ?? 1) > 1;

export const typed = debounce((text: string) => {
  const words = text.trim();
  const { query } = navigation.address;
  const beside = canCombine() ? query : ({ kind: 'none' } as const);
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
  navigation.search({ kind: 'text', text });
  navigation.settle();
  recent.add(text);
}

export function goHome() {
  typed.cancel();
  if (navigation.address.query.kind !== 'none') navigation.search({ kind: 'none' });
  else window.scrollTo(0, 0);
}

/** The words stay, the picture beside them goes. */
export function withoutPicture() {
  typed.cancel();
  navigation.search(withWords({ kind: 'none' }, textOf(navigation.address.query)));
}

export function alike(name: string) {
  typed.cancel();
  navigation.search({ kind: 'like', name });
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
  navigation.search({ kind: 'picture', id, ...(words ? { text: words } : {}) });
}
