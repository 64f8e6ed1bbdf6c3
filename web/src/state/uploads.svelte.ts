// The upload queue: a few files at a time, each with its progress and its outcome. The API key stays in this tab's
// sessionStorage and nowhere else.
import { asError, uploadImage } from '../api/client';
import { t } from '../texts';
import { bytes, sentence } from '../words';

export interface Upload {
  id: number;
  name: string;
  state: 'waiting' | 'sending' | 'done' | 'duplicate' | 'failed';
  share: number;
  note: string;
}

const KEY = 'api_key';
const AT_ONCE = 2;

class Uploads {
  list = $state<Upload[]>([]);
  apiKey = $state(sessionStorage.getItem(KEY) ?? '');
  /** Set when the server refused the key. */
  keyRefused = $state(false);
  active = $derived(this.list.filter(({ state }) => state === 'waiting' || state === 'sending').length);

  #files = new Map<number, File>();
  #sending = 0;
  #lastId = 0;

  setKey(key: string) {
    this.apiKey = key.trim();
    this.keyRefused = false;
    if (this.apiKey) sessionStorage.setItem(KEY, this.apiKey);
    else sessionStorage.removeItem(KEY);
    this.#next();
  }

  refuseKey() {
    this.setKey('');
    this.keyRefused = true;
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
    while (this.apiKey && this.#sending < AT_ONCE) {
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
      const answer = await uploadImage(file, this.apiKey, (share) => (upload.share = share), new AbortController().signal);
      const image = answer.images[0];
      upload.state = image?.duplicate_of ? 'duplicate' : 'done';
      upload.note = image?.duplicate_of ? t.upload.already(image.duplicate_of) : t.upload.added;
      this.#files.delete(upload.id);
    } catch (thrown) {
      const { code, message } = asError(thrown);
      if (code === 'api_key_needed') {
        upload.state = 'waiting';
        this.refuseKey();
      } else {
        upload.state = 'failed';
        upload.note = sentence(message);
      }
    }
    this.#sending--;
    this.#next();
  }
}

export const uploads = new Uploads();
