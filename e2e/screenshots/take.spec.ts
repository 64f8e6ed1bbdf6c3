// The pictures of the page that the documentation shows.
import { test as base, type Page } from '@playwright/test';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT, Server, expect } from '../tests/server';

const test = base.extend<object, { server: Server }>({
  server: [
    async ({}, use) => {
      const server = new Server(readdirSync(join(ROOT, 'demo/pictures')).map((file) => file.replace(/\.png$/, '')));
      await server.start();
      await use(server);
      await server.remove();
    },
    { scope: 'worker', timeout: 180_000 },
  ],
  baseURL: async ({ server }, use) => use(server.url),
});

const take = async (page: Page, name: string) => {
  await expect(page.locator('img.loaded').first()).toBeVisible();
  await page.waitForLoadState('networkidle', { timeout: 3000 }).catch(() => {});
  await page.waitForTimeout(800);
  await page.screenshot({ path: join(ROOT, 'docs/screenshots', `${name}.png`) });
};

const DESK = { viewport: { width: 1200, height: 720 } };
const PHONE = { viewport: { width: 360, height: 720 }, hasTouch: true, isMobile: true };

for (const [name, path, options] of [
  ['home', '/', DESK],
  ['search', '/?q=fruit', DESK],
  ['dark', '/?q=flower', { ...DESK, colorScheme: 'dark' }],
  ['phone', '/?q=fruit', PHONE],
] as const) {
  test.describe(name, () => {
    test.use(options);
    test(`take ${name}`, async ({ page }) => {
      await page.goto(path);
      if (name === 'search') {
        await page.getByRole('button', { name: '8 of 10' }).click();
        await page.locator('li').nth(1).hover();
      }
      await take(page, name);
    });
  });
}

test.describe('large', () => {
  test.use(DESK);
  test('take large', async ({ page }) => {
    await page.goto('/?q=tennis');
    await page.locator('li a').first().click();
    await take(page, 'large');
  });

  test('take status', async ({ page, server }) => {
    server.addBroken('holiday-001.png');
    await page.goto('/');
    await page.getByRole('button', { name: /^Status/ }).click();
    await expect(page.getByText('holiday-001.png')).toBeVisible();
    await take(page, 'status');
  });
});
