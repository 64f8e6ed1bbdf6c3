// Light or dark: the system's choice, until the user makes one of their own; choosing the system's again follows it again.

const KEY = 'theme';
const prefersDark = matchMedia('(prefers-color-scheme: dark)');

class Theme {
  chosen = $state<'light' | 'dark' | null>(null);
  systemDark = $state(prefersDark.matches);
  dark = $derived(this.chosen ? this.chosen === 'dark' : this.systemDark);

  start() {
    const stored = localStorage.getItem(KEY);
    this.#apply(stored === 'light' || stored === 'dark' ? stored : null);
    prefersDark.addEventListener('change', (event) => (this.systemDark = event.matches));
  }

  toggle() {
    const wanted = this.dark ? 'light' : 'dark';
    this.#apply((wanted === 'dark') === this.systemDark ? null : wanted);
  }

  #apply(chosen: 'light' | 'dark' | null) {
    this.chosen = chosen;
    if (chosen) {
      localStorage.setItem(KEY, chosen);
      document.documentElement.dataset.theme = chosen;
    } else {
      localStorage.removeItem(KEY);
      delete document.documentElement.dataset.theme;
    }
  }
}

export const theme = new Theme();
