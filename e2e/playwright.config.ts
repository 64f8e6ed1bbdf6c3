// Drives the real program in Debian's Chromium: `npm ci && npx playwright test`. IMAGE_SEARCH_BIN names the program,
// CHROMIUM the browser. One worker: every file starts its own server, and machines that run this are small.
import { defineConfig } from '@playwright/test';

export const chromium = {
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
};

export default defineConfig({
  testDir: 'tests',
  workers: 1,
  timeout: 60_000,
  expect: { timeout: 15_000 },
  reporter: 'list',
  forbidOnly: Boolean(process.env.CI),
  use: { launchOptions: chromium, viewport: { width: 1280, height: 800 }, trace: 'off' },
});
