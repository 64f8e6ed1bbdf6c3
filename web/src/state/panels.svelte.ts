// Which panel lies over the page, and the one-line message above the pictures.

class Panels {
  open = $state<'none' | 'status' | 'upload'>('none');
  message = $state('');
  /** Whether everything that the list can be filtered by is shown. */
  filters = $state(false);
}

export const panels = new Panels();
