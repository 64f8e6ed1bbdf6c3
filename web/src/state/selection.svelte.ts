// The pictures that were picked out, and what can be done with all of them at once.
import { imageUrlOf } from '../api/client';
import { fileName } from '../words';

class Selection {
  names = $state.raw<ReadonlySet<string>>(new Set());
  // Where a range begins.
  #anchor: string | null = null;

  toggle(name: string) {
    const names = new Set(this.names);
    if (!names.delete(name)) names.add(name);
    this.#anchor = name;
    this.names = names;
  }

  /** Everything from the last picture that was picked to this one. */
  extend(name: string, ordered: readonly { image_name: string }[]) {
    const at = (wanted: string | null) => ordered.findIndex(({ image_name }) => image_name === wanted);
    const [from, to] = [at(this.#anchor), at(name)];
    if (from < 0 || to < 0) return this.toggle(name);
    const range = ordered.slice(Math.min(from, to), Math.max(from, to) + 1);
    this.names = new Set([...this.names, ...range.map(({ image_name }) => image_name)]);
  }

  clear() {
    this.names = new Set();
    this.#anchor = null;
  }

  async copyNames(): Promise<void> {
    await navigator.clipboard.writeText([...this.names].join('\n'));
  }

  /** One after the other, as browsers ask their users to allow. */
  async download() {
    for (const name of this.names) {
      const link = document.createElement('a');
      link.href = imageUrlOf(name);
      link.download = fileName(name);
      link.click();
      await new Promise((done) => setTimeout(done, 150));
    }
  }
}

export const selection = new Selection();
