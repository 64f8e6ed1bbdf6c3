// Which panel lies over the page, and the one-line message above the pictures.

class Panels {
  open = $state<'none' | 'status' | 'upload'>('none');
  message = $state('');
}

export const panels = new Panels();
