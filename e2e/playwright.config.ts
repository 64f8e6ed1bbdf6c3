// Drives the real program in Debian's browsers: `npm ci && npx playwright test` in Chromium, `BROWSER=firefox npx playwright
// test` in Firefox. IMAGE_SEARCH_BIN names the program, CHROMIUM and FIREFOX the browsers. Two workers, each with its
// own server: tests mostly wait, for the network, for animations, for each other.
import { defineConfig } from '@playwright/test';

export const chromium = {
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
};

// Debian's Firefox has none of Playwright's patches; it is driven by WebDriver BiDi. Playwright 1.65 asks it for what the ESR
// does not know yet (emulation.setMediaFeaturesOverride), so package.json stays at 1.64.
const firefox = {
  browserName: 'firefox' as const,
  channel: 'moz-firefox',
  launchOptions: {
    executablePath: process.env.FIREFOX ?? '/usr/bin/firefox-esr',
    // Without a screen it believes to have no pointer: 2 is fine, 4 hovers.
    firefoxUserPrefs: { 'general.smoothScroll': false, 'ui.primaryPointerCapabilities': 6, 'ui.allPointerCapabilities': 6 },
  },
};

export default defineConfig({
  testDir: 'tests',
  workers: Number(process.env.E2E_WORKERS ?? 2),
  timeout: 60_000,
  expect: { timeout: 15_000 },
  reporter: 'list',
  forbidOnly: Boolean(process.env.CI),
  // A small machine that builds beside the browser loses a second now and then; what needed another try is told as flaky.
  retries: process.env.CI ? 2 : 0,
  // What only Chromium can be told: touches, slow networks, the clipboard.
  grepInvert: process.env.BROWSER === 'firefox' ? /@chromium/ : undefined,
  // Without motion: drawing it without a graphics card takes most of a small machine. The tests of motion ask for it.
  use: { ...(process.env.BROWSER === 'firefox' ? firefox : { launchOptions: chromium, contextOptions: { reducedMotion: 'reduce' } }), viewport: { width: 1280, height: 800 }, trace: 'off' },
});
