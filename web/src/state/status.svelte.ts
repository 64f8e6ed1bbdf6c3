// The server's live status over server-sent events. One connection per visible tab: hidden tabs let go of theirs,
// because browsers allow only a few connections to one server.
import { getStatus, type Status } from '../api/client';

const RECONNECT_MS = 2000;
// The server repeats itself every 15 s; longer silence means the connection is dead without having said so.
const SILENCE_MAX_MS = 40_000;

class Live {
  now = $state.raw<Status | null>(null);
  offline = $state(false);
  /** Grows with every reconnection, for those who have something to ask again. */
  reconnected = $state(0);

  /** The first status is there, or there is none for now. */
  readonly known: Promise<void>;
  #isKnown: () => void = () => {};

  #events: EventSource | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor() {
    this.known = new Promise((done) => (this.#isKnown = done));
  }

  start() {
    document.addEventListener('visibilitychange', () => (document.hidden ? this.#close() : this.#open()));
    window.addEventListener('online', () => this.#open());
    if (!document.hidden) this.#open();
  }

  /** Somebody else found that nothing answers, or wants to try again at once. */
  check() {
    this.#open();
  }

  #open() {
    this.#close();
    const events = new EventSource('/api/v1/events');
    this.#events = events;
    this.#expect();
    events.addEventListener('status', (event) => {
      this.#heard(JSON.parse((event as MessageEvent<string>).data) as Status);
      this.#expect();
    });
    events.onerror = () => void this.#lost();
  }

  #heard(status: Status) {
    this.now = status;
    this.#isKnown();
    if (this.offline) this.reconnected++;
    this.offline = false;
  }

  #expect() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#lost(), SILENCE_MAX_MS);
  }

  /** A server with no connection to spare for events, or behind a proxy that holds them back, can still be asked. */
  async #lost() {
    this.#close();
    try {
      this.#heard(await getStatus());
    } catch {
      this.offline = true;
      this.#isKnown();
    }
    if (!document.hidden && !this.#events) this.#timer = setTimeout(() => this.#open(), RECONNECT_MS);
  }

  #close() {
    clearTimeout(this.#timer);
    this.#events?.close();
    this.#events = null;
  }
}

export const live = new Live();
