// Searches worth trying here: of a built-in list, those that find something in this library. Each is asked once, when
// the page has nothing else to do, and what was found is kept for the day.
import { searchImage, type Match, type Status } from '../api/client';
import { t } from '../texts';

// A handful of pictures says nothing about what fits.
const PICTURES_MIN = 12;
// How many results of each are looked at: the first stand out only against the others.
const LOOKED_AT = 24;
const KEPT_MS = 24 * 3600 * 1000;
const START_AFTER_MS = 1200;
const KEY = 'examples_found';

interface Kept {
  of: string;
  at: number;
  words: string[];
}

class Examples {
  /** All that find something, best first. */
  words = $state.raw<readonly string[]>([]);
  #of = '';
  #running: AbortController | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** Looks for them, if it was not done for this model and about this many pictures. */
  find(status: Status) {
    if (status.model.state !== 'ready' || status.images.pending > 0 || status.images.indexed < PICTURES_MIN) return;
    // Every doubling of the library may hold something new.
    const of = `${status.model.name} ${status.model.revision} ${Math.floor(Math.log2(status.images.indexed))}`;
    if (of === this.#of) return;
    const kept = stored();
    if (kept && kept.of === of && Date.now() - kept.at < KEPT_MS) {
      this.#of = of;
      this.words = kept.words;
      return;
    }
    if (this.#running) return;
    this.#running = new AbortController();
    const { signal } = this.#running;
    this.#timer = setTimeout(() => void this.#ask(of, signal), START_AFTER_MS);
  }

  /** Somebody wants the server for something real. */
  pause() {
    clearTimeout(this.#timer);
    this.#running?.abort();
    this.#running = null;
  }

  async #ask(of: string, signal: AbortSignal) {
    const found: { word: string; merit: number }[] = [];
    try {
      for (const word of t.welcome.candidates) {
        const { matches } = await searchImage({ parts: [{ text: word }] }, LOOKED_AT, 0, signal);
        const merit = standsOut(matches);
        if (merit !== null) found.push({ word, merit });
      }
    } catch {
      // Another time; the page works without.
      if (!signal.aborted) this.#running = null;
      return;
    }
    found.sort((a, b) => b.merit - a.merit);
    this.words = found.map(({ word }) => word);
    this.#of = of;
    this.#running = null;
    localStorage.setItem(KEY, JSON.stringify({ of, at: Date.now(), words: [...this.words] } satisfies Kept));
  }
}

/** How far the best stand out from the rest; `null` if nothing fits. */
export function standsOut(matches: readonly Match[]): number | null {
  const best = matches[0];
  if (!best || best.strength === 'weak') return null;
  const rest = matches.slice(Math.floor(matches.length / 2));
  const usual = rest.reduce((sum, { score }) => sum + score, 0) / Math.max(1, rest.length);
  return best.score - usual + (best.strength === 'strong' ? 1 : 0);
}

function stored(): Kept | null {
  try {
    const kept = JSON.parse(localStorage.getItem(KEY) ?? 'null') as Kept | null;
    return kept && Array.isArray(kept.words) ? kept : null;
  } catch {
    return null;
  }
}

export const examples = new Examples();
