// Whether this server searches with several things at once: words and pictures, and what they are not.
import { live } from './status.svelte';

export const canCombine = () => (live.now?.limits.queries_max ?? 1) > 1;
