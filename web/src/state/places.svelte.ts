// Where the user was in each list of pictures, so that "back" and a reload return to the exact place. A place names the
// first picture in sight and where it stood, because rows above it may be laid out differently by then. Kept in this
// tab's sessionStorage.

export interface Place {
  /** First picture in sight, and how far below the top of the window it began. */
  name: string;
  below: number;
  /** How many pictures were loaded. */
  loaded: number;
}

const KEY = 'places';
const KEPT_MAX = 50;

class Places {
  /** The place that the grid goes to as soon as it has that picture. */
  wanted = $state.raw<Place | null>(null);

  #kept = new Map<number, Place>(stored());

  keep(list: number, place: Place | null) {
    // A list that has not reached its place yet must not forget it.
    if (this.wanted) return;
    this.#kept.delete(list);
    if (place) this.#kept.set(list, place);
    for (const oldest of this.#kept.keys()) {
      if (this.#kept.size <= KEPT_MAX) break;
      this.#kept.delete(oldest);
    }
  }

  /** For after a reload. */
  store() {
    sessionStorage.setItem(KEY, JSON.stringify([...this.#kept]));
  }

  of(list: number): Place | null {
    return this.#kept.get(list) ?? null;
  }
}

function stored(): [number, Place][] {
  try {
    const list = JSON.parse(sessionStorage.getItem(KEY) ?? '[]') as unknown;
    return Array.isArray(list) ? (list as [number, Place][]) : [];
  } catch {
    return [];
  }
}

export const places = new Places();
