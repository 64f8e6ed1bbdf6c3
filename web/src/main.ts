// Starts the page.
import { mount } from 'svelte';
import App from './App.svelte';
import './app.css';
import { keepPageOffline } from './state/offline';
import { later } from './state/later.svelte';
import { live } from './state/status.svelte';
import { theme } from './state/theme.svelte';
import { language } from './texts';

document.documentElement.lang = language;
theme.start();
const target = document.getElementById('app')!;
if (location.pathname === '/quality') void import('./quality/Quality.svelte').then(({ default: Quality }) => mount(Quality, { target }));
else {
  live.start();
  mount(App, { target });
  later.fetchWhenIdle();
  window.addEventListener('load', () => void keepPageOffline());
}
