// What another app shared with this one, once it is installed: the service worker keeps it until the page asks.
import { searchFor, searchWith } from './asking';

const PICTURE = '/shared-picture';

/** Searches with what was shared, if the address says that something was. */
export async function takeShared() {
  const params = new URLSearchParams(location.search);
  if (!params.has('shared')) return;
  const text = params.get('shared')?.trim();
  history.replaceState(history.state, '', '/');
  const kept = await globalThis.caches?.match(PICTURE);
  if (kept) {
    const blob = await kept.blob();
    for (const name of await caches.keys()) await (await caches.open(name)).delete(PICTURE);
    await searchWith(new File([blob], 'shared', { type: blob.type }));
  } else if (text) searchFor(text);
}
