// Whether this server can filter: servers that know when a picture was taken can; one look at a list tells.
import { listImages } from '../api/client';

class Filtering {
  /** `null` while it is not known. */
  available = $state<boolean | null>(null);
  #asking = false;

  /** What was listed tells whether the server knows when pictures were taken. */
  learn(pictures: readonly { taken?: string }[]) {
    if (this.available || pictures.length === 0) return;
    if (pictures.some(({ taken }) => taken !== undefined)) this.available = true;
  }

  /** Asks, if what is on screen did not tell. */
  async ask(signal: AbortSignal) {
    if (this.available !== null || this.#asking) return;
    this.#asking = true;
    try {
      const { images } = await listImages(1, { offset: 0 }, signal);
      if (images.length > 0) this.available = images[0]!.taken !== undefined;
    } catch {
      // Another time.
    }
    this.#asking = false;
  }
}

export const filtering = new Filtering();
