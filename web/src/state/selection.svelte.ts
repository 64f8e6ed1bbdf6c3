// The pictures that were picked out, and what can be done with all of them at once.
import { ApiError, asError, deleteImage, imageUrlOf } from '../api/client';
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

  /** Where they are on the server's disk. Names of all folders but the first begin with @ and the folder's own name. */
  paths(sources: readonly { location: string }[]): string[] {
    return [...this.names].map((name) => pathOf(name, sources));
  }

  /** One as it is, several as one zip file. The browser saves it; what it shows instead of a file is a refusal. */
  download(onrefused: () => void) {
    const [only, ...more] = this.names;
    if (only === undefined) return;
    if (more.length > 0) return saveZip([...this.names], onrefused);
    const link = document.createElement('a');
    link.href = imageUrlOf(only);
    link.download = fileName(only);
    link.click();
  }

  /** One after the other; what is deleted is no longer selected. Ends at the first that fails. */
  async delete(ondeleted: (name: string, done: number) => void): Promise<ApiError | null> {
    let done = 0;
    for (const name of [...this.names]) {
      try {
        await deleteImage(name);
      } catch (thrown) {
        const error = asError(thrown);
        // Somebody was quicker.
        if (error.code !== 'not_found') return error;
      }
      const names = new Set(this.names);
      names.delete(name);
      this.names = names;
      ondeleted(name, ++done);
    }
    return null;
  }
}

export function pathOf(name: string, sources: readonly { location: string }[]): string {
  const [, own, rest] = /^@([^/]+)\/(.*)$/.exec(name) ?? [];
  const further = own && sources.slice(1).find(({ location }) => location.replace(/\/$/, '').endsWith(`/${own}`));
  const [source, below] = further ? [further, rest] : [sources[0], name];
  return `${source?.location.replace(/\/$/, '') ?? ''}/${below}`;
}

function saveZip(names: readonly string[], onrefused: () => void) {
  const frame = document.createElement('iframe');
  frame.name = 'download';
  frame.hidden = true;
  const form = document.createElement('form');
  Object.assign(form, { method: 'post', enctype: 'multipart/form-data', action: '/api/v1/download-zip', target: frame.name, hidden: true });
  const field = document.createElement('input');
  Object.assign(field, { type: 'hidden', name: 'image_names', value: JSON.stringify(names) });
  form.append(field);
  document.querySelector('iframe[name="download"]')?.remove();
  document.body.append(frame, form);
  // A file loads nothing into the frame; a refusal does, and its page may not be looked at.
  frame.addEventListener('load', () => frame.contentDocument?.URL !== 'about:blank' && onrefused());
  form.submit();
  form.remove();
}

export const selection = new Selection();
