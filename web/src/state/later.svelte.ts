// Fetches the parts that the first screen does not need: when it stands, or as soon as somebody wants one of them.
import type * as Parts from '../parts/later';
import { t } from '../texts';
import { panels } from './panels.svelte';

const KEY = 'reloaded_for_parts';
const RELOAD_PAUSE_MS = 30_000;
const IDLE_WAIT_MS = 2000;

class Later {
  /** `null` until they are here. */
  parts = $state.raw<typeof Parts | null>(null);
  #fetching: Promise<void> | null = null;
  #isWanted = false;

  /** Never fails; whether they are here then is in `parts`. */
  fetch(): Promise<void> {
    this.#isWanted = true;
    return this.#fetch();
  }

  /** When the browser has nothing better to do. The page counts as loaded only when its first thumbnails are, which may take long. */
  fetchWhenIdle() {
    const idle = () => ('requestIdleCallback' in window ? requestIdleCallback(() => void this.#fetch(), { timeout: IDLE_WAIT_MS }) : setTimeout(() => void this.#fetch(), IDLE_WAIT_MS));
    if (document.readyState === 'complete') return void idle();
    window.addEventListener('load', idle);
    setTimeout(idle, IDLE_WAIT_MS);
  }

  #fetch(): Promise<void> {
    this.#fetching ??= import('../parts/later').then(
      (parts) => void (this.parts = parts),
      async () => {
        this.#fetching = null;
        if (this.#isWanted) await startAnew();
        this.#isWanted = false;
      },
    );
    return this.#fetching;
  }
}

/** A server that was upgraded has other files, and browsers do not ask for a missing one twice: both ask for the page anew. Its
 * address says where the user was. */
async function startAnew() {
  try {
    const answer = await fetch('/', { cache: 'no-cache' });
    const last = Number(sessionStorage.getItem(KEY));
    if (answer.ok && Date.now() - last > RELOAD_PAUSE_MS) {
      sessionStorage.setItem(KEY, String(Date.now()));
      location.reload();
    } else panels.message = `${t.trouble.failed}.`;
  } catch {
    panels.message = `${t.trouble.offline}.`;
  }
  panels.open = 'none';
}

export const later = new Later();
