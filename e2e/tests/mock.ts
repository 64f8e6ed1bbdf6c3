// The page with the mock API in this process, for what the real program cannot be made to do on demand: slow thumbnails,
// an indexing run step by step, fields that come with later versions. PAGE_DIST names another built page to try.
import { type Page, test as base } from '@playwright/test';
import type { AddressInfo } from 'node:net';
import { pathToFileURL } from 'node:url';
import { createMock } from '../../web/mock/api.mjs';
import { serve } from '../../web/mock/server.mjs';
import { expect } from './server';

export interface Shown {
  image_name: string;
}
export interface World {
  images: Shown[];
  waiting: Shown[];
  skipped: { what: string; files: number }[];
  rich: boolean;
  sources: { location: string; away: boolean; reason: string | null }[];
  // Tests bend any field of it.
  change: (status: any) => any;
  /** Bodies of the searches, oldest first. */
  searches: any[];
  refusesZip?: boolean;
  hasDesktop: boolean;
  shownInFolder: string[];
  refusesToShow: boolean;
  suggestions: { kind: string; text: string }[];
  learnedFrom: number;
  quality: object | null;
  thumbnailDelayMs: number;
  thumbnails: { name: string; width: number; outcome: 'open' | 'sent' | 'cancelled' }[];
  publish(): void;
  index(n: number): void;
}

export class Mock {
  url = '';
  world!: World;
  #stop = () => {};

  async start(options: { total?: number; waiting?: number; rich?: boolean }) {
    const mock = createMock({ perSecond: 0, waiting: 0, ...options });
    this.world = mock.world as unknown as World;
    const dist = process.env.PAGE_DIST ? pathToFileURL(`${process.env.PAGE_DIST}/`) : undefined;
    const server = await serve(mock, 0, dist);
    this.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    this.#stop = () => {
      server.closeAllConnections();
      server.close();
    };
  }

  stop() {
    this.#stop();
  }
}

/** Until what the page fetches after its first screen is there. */
export const untilAllFetched = (page: Page) =>
  expect.poll(() => page.evaluate(() => [...document.styleSheets].some(({ href }) => href?.includes('/later-')))).toBe(true);

/** `mock` is started by the test, with what it needs; the page's complaints fail the test. */
export const test = base.extend<{ mock: Mock; complaints: string[] }>({
  mock: async ({}, use) => {
    const mock = new Mock();
    await use(mock);
    mock.stop();
  },
  complaints: [
    async ({ page }, use) => {
      const complaints: string[] = [];
      page.on('pageerror', (error) => {
        // Firefox, of a page that is left while it still fetches its later parts. Tests that use those see whether they come.
        if (!error.message.startsWith('Unable to preload CSS')) complaints.push(String(error));
      });
      page.on('console', (message) => {
        if (message.type() === 'error' && !message.text().startsWith('Failed to load resource')) complaints.push(message.text());
      });
      await use(complaints);
      expect(complaints, 'errors and policy violations in the console').toEqual([]);
    },
    { auto: true },
  ],
});

export { expect };
