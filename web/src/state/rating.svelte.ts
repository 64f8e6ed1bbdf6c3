// What the user thinks of the answer on screen: one number for all of it, thumbs for single pictures. It belongs to
// exactly that answer's token, and goes with it when the answer does.
import { asError, createFeedback } from '../api/client';
import { t } from '../texts';
import { sentence } from '../words';

// The token carries this many pictures; more single ratings would rate what it does not know.
const RATED_IMAGES_MAX = 50;

export interface KeptRating {
  jwt: string;
  value: number | null;
  thumbs: ReadonlyMap<string, boolean>;
}

class Rating {
  jwt = $state('');
  value = $state<number | null>(null);
  phase = $state<'none' | 'sending' | 'thanked' | 'failed'>('none');
  error = $state('');
  thumbs = $state.raw<ReadonlyMap<string, boolean>>(new Map());
  /** The thumbs that the server knows of. */
  noted = $state.raw<ReadonlyMap<string, boolean>>(new Map());

  #changedWhileSending = false;

  /** For a new answer; without a token there is nothing to rate. */
  begin({ jwt, value, thumbs }: KeptRating = { jwt: '', value: null, thumbs: new Map() }) {
    this.jwt = jwt;
    this.value = value;
    this.thumbs = thumbs;
    this.noted = thumbs;
    this.phase = 'none';
    this.#changedWhileSending = false;
  }

  kept(): KeptRating {
    return { jwt: this.jwt, value: this.value, thumbs: this.thumbs };
  }

  rate(value: number) {
    if (!this.jwt) return;
    this.value = value;
    return this.#send();
  }

  /** A thumb on one picture; the same thumb again takes it back. */
  thumb(name: string, relevant: boolean) {
    const thumbs = new Map(this.thumbs);
    if (thumbs.get(name) === relevant) thumbs.delete(name);
    else thumbs.set(name, relevant);
    this.thumbs = thumbs;
    return this.#send();
  }

  canThumb(index: number): boolean {
    return this.jwt !== '' && index >= 0 && index < RATED_IMAGES_MAX;
  }

  /** One request at a time, so that an older one never overtakes a newer; what changed meanwhile is sent after it. */
  async #send() {
    if (!this.jwt) return;
    if (this.phase === 'sending') {
      this.#changedWhileSending = true;
      return;
    }
    const jwt = this.jwt;
    this.phase = 'sending';
    this.#changedWhileSending = false;
    const { thumbs } = this;
    const image_feedback = [...thumbs].map(([image_name, relevant]) => ({ image_name, relevant }));
    try {
      await createFeedback({ user_feedback: this.value, jwt, image_feedback });
      if (jwt !== this.jwt) return;
      this.phase = 'thanked';
      this.noted = thumbs;
      if (this.#changedWhileSending) await this.#send();
    } catch (thrown) {
      if (jwt !== this.jwt) return;
      const { code, message } = asError(thrown);
      this.phase = 'failed';
      this.error = code === 'token_expired' ? t.rating.tooOld : t.rating.failed(sentence(message));
    }
  }
}

export const rating = new Rating();
