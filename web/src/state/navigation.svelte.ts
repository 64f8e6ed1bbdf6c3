// Where the user is, in step with the browser's history. Opening a picture is a step of its own, so that "back" closes
// it; leafing through pictures or typing on is not. Every search is a list with a number of its own, by which its
// results and the place in them are kept.
import { readAddress, writeAddress, type Address, type Query } from './address';
import { grow, largePicture, tileOf } from './transition';

interface Entry {
  picture?: number;
  opened?: boolean;
  list?: number;
}

class Navigation {
  address = $state.raw<Address>(readAddress(location.search, history.state));
  list = $state((history.state as Entry | null)?.list ?? Date.now());
  /** Called before a list is left, while it is still on screen. */
  leaving: () => void = () => {};
  // While one search is being typed, its steps replace each other.
  #typing = false;

  start() {
    history.scrollRestoration = 'manual';
    history.replaceState({ ...(history.state as Entry | null), list: this.list }, '');
    window.addEventListener('popstate', () => {
      this.#typing = false;
      this.leaving();
      const [list, address] = [(history.state as Entry | null)?.list ?? Date.now(), readAddress(location.search, history.state)];
      const go = () => {
        this.list = list;
        this.address = address;
      };
      if (list === this.list && !address.open) this.#shrink(go);
      else go();
    });
  }

  search(query: Query, typing = false) {
    const how = typing && this.#typing ? 'replace' : 'push';
    this.#typing = typing;
    this.leaving();
    // Also when typing on: other words are another list, with no place in it yet.
    this.list = Math.max(Date.now(), this.list + 1);
    this.#write({ query, open: null }, how);
  }

  /** The words are settled; what is typed next is a new search. */
  settle() {
    this.#typing = false;
  }

  open(name: string) {
    this.settle();
    this.#write({ ...this.address, open: name }, this.address.open ? 'replace' : 'push', true);
  }

  close() {
    if ((history.state as Entry | null)?.opened) history.back();
    else this.#shrink(() => this.#write({ ...this.address, open: null }, 'replace'));
  }

  #shrink(change: () => void) {
    const name = this.address.open;
    grow(change, largePicture, () => name && tileOf(name));
  }

  #write(address: Address, how: 'push' | 'replace', opened = false) {
    const { url, state } = writeAddress(address);
    const isOpened = opened && (how === 'push' || (history.state as Entry | null)?.opened === true);
    const entry: Entry = { ...state, opened: isOpened, list: this.list };
    if (how === 'push') history.pushState(entry, '', url);
    else history.replaceState(entry, '', url);
    this.address = address;
  }
}

export const navigation = new Navigation();
