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
live.start();
mount(App, { target: document.getElementById('app')! });
later.fetchWhenIdle();
window.addEventListener('load', () => void keepPageOffline());
