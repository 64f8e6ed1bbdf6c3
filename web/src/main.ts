// Starts the page.
import { mount } from 'svelte';
import App from './App.svelte';
import './app.css';
import { live } from './state/status.svelte';
import { theme } from './state/theme.svelte';

theme.start();
live.start();
mount(App, { target: document.getElementById('app')! });
