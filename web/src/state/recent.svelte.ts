// The last searches by words, kept in this browser and nowhere else.

const KEY = 'recent_searches';
const KEPT_MAX = 6;

class Recent {
  searches = $state.raw<readonly string[]>(stored());

  add(text: string) {
    const words = text.trim();
    if (!words) return;
    // While words are typed on, the longer ones replace their beginning.
    const others = this.searches.filter((each) => each !== words && !words.startsWith(`${each} `));
    this.searches = [words, ...others].slice(0, KEPT_MAX);
    localStorage.setItem(KEY, JSON.stringify(this.searches));
  }

  forget() {
    this.searches = [];
    localStorage.removeItem(KEY);
  }
}

function stored(): string[] {
  try {
    const list = JSON.parse(localStorage.getItem(KEY) ?? '[]') as unknown;
    return Array.isArray(list) ? list.filter((each) => typeof each === 'string').slice(0, KEPT_MAX) : [];
  } catch {
    return [];
  }
}

export const recent = new Recent();
