// The upload queue: a few files at a time, each with its progress and its outcome. It waits until somebody is signed in.
import { asError, uploadImage } from '../api/client';
import { t } from '../texts';
import { session } from './session.svelte';
import { bytes, sentence } from '../words';

export interface Upload {
  id: number;
  name: string;
  state: 'waiting' | 'sending' | 'done' | 'duplicate' | 'failed';
  share: number;
  note: string;
}

const AT_ONCE = 2;

class Uploads {
  list = $state<Upload[]>([]);
  active = $derived(this.list.filter(({ state }) => state === 'waiting' || state === 'sending').length);

  #files = new Map<number, File>();
  #sending = 0;
  #lastId = 0;

  /** Somebody has signed in. */
  goOn() {
    this.#next();
  }

  add(files: Iterable<File>, bytesMax: number) {
    for (const file of files) {
      const upload: Upload = { id: ++this.#lastId, name: file.name, state: 'waiting', share: 0, note: '' };
      if (file.size > bytesMax) {
        upload.state = 'failed';
        upload.note = t.upload.tooLarge(bytes(file.size), bytes(bytesMax));
      } else this.#files.set(upload.id, file);
      this.list.push(upload);
    }
    this.#next();
  }

  clearFinished() {
    this.list = this.list.filter(({ state }) => state === 'waiting' || state === 'sending');
  }

  #next() {
    while (session.may('upload') && this.#sending < AT_ONCE) {
      const upload = this.list.find(({ state }) => state === 'waiting');
      if (!upload) return;
      void this.#send(upload);
    }
  }

  async #send(upload: Upload) {
    const file = this.#files.get(upload.id);
    if (!file) return;
    this.#sending++;
    upload.state = 'sending';
    try {
      const answer = await uploadImage(file, (share) => (upload.share = share), new AbortController().signal);
      const image = answer.images[0];
      upload.state = image?.duplicate_of ? 'duplicate' : 'done';
      upload.note = image?.duplicate_of ? t.upload.already(image.duplicate_of) : t.upload.added;
      this.#files.delete(upload.id);
    } catch (thrown) {
      const error = asError(thrown);
      if (session.endsWith(error)) upload.state = 'waiting';
      else {
        upload.state = 'failed';
        upload.note = sentence(error.message);
      }
    }
    this.#sending--;
    this.#next();
  }
}

export const uploads = new Uploads();
