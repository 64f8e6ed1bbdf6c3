// Words worth trying here: of the server's list, those that find something in this library.
import { findWordsToTry, type Status } from '../api/client';
import { language } from '../texts';

const WANTED = 6;
// A new model makes the vectors of the list beside everything else, so at first there are few words, or none.
const AGAIN_MS = [1000, 2000, 4000, 8000, 16_000, 32_000, 64_000];

class Examples {
  /** At most six, those that stand out most first. */
  words = $state.raw<readonly string[]>([]);
  #of = '';
  #running: AbortController | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** Looks for them, if it was not done for this model and about this many pictures. */
  find(status: Status) {
    if (status.model.state !== 'ready' || status.images.indexed === 0) return;
    // Every doubling of the library may hold something new.
    const of = `${status.model.name} ${status.model.revision} ${Math.floor(Math.log2(status.images.indexed))}`;
    if (of === this.#of) return;
    this.pause();
    this.#of = of;
    this.#running = new AbortController();
    void this.#ask(0, this.#running.signal);
  }

  /** They are not shown any more. */
  pause() {
    clearTimeout(this.#timer);
    this.#running?.abort();
    this.#running = null;
    if (this.words.length < WANTED) this.#of = '';
  }

  async #ask(times: number, signal: AbortSignal) {
    try {
      const { suggestions } = await findWordsToTry(language, WANTED, signal);
      if (signal.aborted) return;
      if (suggestions.length > 0) this.words = suggestions.map(({ text }) => text);
    } catch {
      // They are a help, and nothing is missing without; older servers have none.
      if (signal.aborted) return;
    }
    const pause = AGAIN_MS[times];
    if (this.words.length < WANTED && pause) this.#timer = setTimeout(() => void this.#ask(times + 1, signal), pause);
  }
}

export const examples = new Examples();
