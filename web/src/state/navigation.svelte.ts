// Where the user is, in step with the browser's history. Opening a picture is a step of its own, so that "back" closes
// it; leafing through pictures or typing on is not.
import { readAddress, writeAddress, type Address, type Query } from './address';

class Navigation {
  address = $state.raw<Address>(readAddress(location.search, history.state));
  // While one search is being typed, its steps replace each other.
  #typing = false;

  start() {
    history.scrollRestoration = 'manual';
    window.addEventListener('popstate', () => {
      this.#typing = false;
      this.address = readAddress(location.search, history.state);
    });
  }

  search(query: Query, typing = false) {
    this.#write({ query, open: null }, typing && this.#typing ? 'replace' : 'push');
    this.#typing = typing;
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
    if (history.state?.opened) history.back();
    else this.#write({ ...this.address, open: null }, 'replace');
  }

  #write(address: Address, how: 'push' | 'replace', opened = false) {
    const { url, state } = writeAddress(address);
    const entry = { ...state, opened: opened && (how === 'push' || history.state?.opened === true) };
    if (how === 'push') history.pushState(entry, '', url);
    else history.replaceState(entry, '', url);
    this.address = address;
  }
}

export const navigation = new Navigation();
