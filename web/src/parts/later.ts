// What the first screen does not need, as one file that is fetched when that screen stands (state/later.svelte.ts).
export { default as Copies } from './Copies.svelte';
export { default as Filters } from './Filters.svelte';
export { default as KeyPrompt } from './KeyPrompt.svelte';
export { default as Refine } from './Refine.svelte';
export { default as SelectionBar } from './SelectionBar.svelte';
export { default as StatusPanel } from './StatusPanel.svelte';
export { default as Suggestions } from './Suggestions.svelte';
export { default as UploadPanel } from './UploadPanel.svelte';
export { default as Viewer } from './Viewer.svelte';
