// Lets a tile grow into the large picture and shrink back, where the browser can and the user wants motion.
import { tick } from 'svelte';

const CLASS = 'growing';
const still = matchMedia('(prefers-reduced-motion: reduce)');

/** Makes `change`; the element that `from` finds before it becomes the one that `to` finds after it. */
export function grow(change: () => void, from: () => Element | null | undefined, to: () => Element | null | undefined | '') {
  const start = still.matches ? null : from();
  // Not every browser has it.
  if (!start || typeof document.startViewTransition !== 'function') return change();
  start.classList.add(CLASS);
  let end: Element | null = null;
  const transition = document.startViewTransition(async () => {
    start.classList.remove(CLASS);
    change();
    // Once for the change, once for the focus that follows it and may scroll.
    await tick();
    await tick();
    end = to() || null;
    end?.classList.add(CLASS);
  });
  const done = () => end?.classList.remove(CLASS);
  transition.finished.then(done, done);
  // A newer transition skips this one; the change is made all the same.
  transition.ready.catch(() => {});
}

export const tileOf = (name: string) => document.querySelector(`#results img[alt="${CSS.escape(name)}"]`);
export const largePicture = () => document.querySelector('dialog .frame');
