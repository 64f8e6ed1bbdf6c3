// `npm run screenshots` renews docs/screenshots/ from the real program, the bundled model and all demo pictures
// (and makes them small with pngquant, and the film with img2webp: Debian packages).
import { defineConfig } from '@playwright/test';
import { chromium } from './playwright.config';

export default defineConfig({ testDir: 'screenshots', workers: 1, timeout: 180_000, reporter: 'list', use: { launchOptions: chromium } });
