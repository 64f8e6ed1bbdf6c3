// The pictures of the page that the documentation shows.
import { test as base, type Page } from '@playwright/test';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ROOT, Server, expect } from '../tests/server';

const test = base.extend<object, { server: Server }>({
  server: [
    async ({}, use) => {
      const server = new Server(readdirSync(join(ROOT, 'demo/pictures')).map((file) => file.replace(/\.png$/, '')));
      for (const day of ['01', '02', '03']) server.addVariant('rose', `garden/${day} rose.png`);
      for (const [index, name] of DATED.entries()) server.addVariant(name, `trips/${2021 + (index % 4)}/20${21 + (index % 4)}0${1 + (index % 8)}1${index % 9}_1200${10 + index} ${name}.png`);
      await server.start();
      await use(server);
      await server.remove();
    },
    { scope: 'worker', timeout: 180_000 },
  ],
  baseURL: async ({ server }, use) => use(server.url),
});

// Taken over some years, so that filters have something to tell apart.
const DATED = ['sailboat', 'beach-with-umbrella', 'camping', 'mountain', 'desert', 'volcano', 'national-park', 'sunrise', 'snow-capped-mountain', 'desert-island', 'bridge-at-night', 'cityscape'];

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
  ['phone-home', '/', PHONE],
] as const) {
  test.describe(name, () => {
    test.use(options);
    test(`take ${name}`, async ({ page }) => {
      await page.goto(path);
      if (path === '/') await expect(page.getByRole('list', { name: 'Examples' }).getByRole('button')).toHaveCount(6);
      if (name === 'search') {
        await page.getByRole('button', { name: '8 of 10' }).click();
        await page.locator('a[data-index="1"]').hover();
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

  test('take selection', async ({ page }) => {
    await page.goto('/?q=animal');
    await page.locator('a[data-index="1"]').click({ modifiers: ['Shift'] });
    await page.locator('a[data-index="4"]').click({ modifiers: ['Shift'] });
    await page.mouse.move(2, 2);
    await take(page, 'selection');
  });

  test('take fold', async ({ page }) => {
    await page.goto('/?q=tennis');
    await page.getByRole('button', { name: 'Show less likely pictures' }).click();
    await page.getByRole('heading', { name: 'Less likely' }).scrollIntoViewIfNeeded();
    await take(page, 'fold');
  });

  test('take stacks', async ({ page }) => {
    await page.goto('/?q=rose');
    await page.getByRole('button', { name: '4 copies of this picture' }).click();
    await expect(page.getByRole('dialog').getByRole('listitem')).toHaveCount(4);
    await take(page, 'stacks');
  });

  test('take suggestions', async ({ page }) => {
    await page.goto('/');
    // The words of the list are learnt beside everything else.
    const known = async () => JSON.stringify(await (await page.request.get('/api/v1/suggestions?text=tr')).json());
    await expect.poll(known, { timeout: 60_000 }).toContain('"word","text":"tr');
    await page.getByLabel('Search pictures by words').pressSequentially('tr');
    await expect(page.getByRole('option', { name: 'Found here' }).first()).toBeVisible();
    await page.keyboard.press('ArrowDown');
    await take(page, 'suggestions');
  });

  test('take crop', async ({ page }) => {
    await page.goto('/?image=tennis.png');
    await page.getByRole('button', { name: 'Search with a part' }).click();
    await expect(page.getByRole('button', { name: 'Search with this part' })).toBeVisible();
    await page.waitForTimeout(800);
    await page.screenshot({ path: join(ROOT, 'docs/screenshots/crop.png') });
  });

  test('take filters', async ({ page }) => {
    await page.goto('/?folder=trips');
    await page.getByRole('button', { name: 'Filter', exact: true }).click();
    await expect(page.getByRole('group', { name: 'When the pictures were taken' })).toBeVisible();
    await take(page, 'filters');
  });

  test('take refined', async ({ page }) => {
    await page.goto('/?q=red&like=rose.png&notlike=tulip.png');
    await expect(page.getByRole('list', { name: 'Not wanted' })).toBeVisible();
    await take(page, 'refined');
  });

  test('take status', async ({ page, server }) => {
    server.addBroken('holiday-001.png');
    await page.goto('/');
    await page.getByRole('button', { name: /^Status/ }).click();
    await expect(page.getByText('holiday-001.png')).toBeVisible();
    await take(page, 'status');
  });
});

test.describe('phone, large', () => {
  test.use(PHONE);
  test('take phone-large', async ({ page }) => {
    await page.goto('/?q=fruit');
    await page.locator('a[data-index="0"]').tap();
    await take(page, 'phone-large');
  });
});

// A short film, as WebP: pictures flow in while they are indexed. Made by img2webp, of Debian's package webp.
base.describe('first run', () => {
  base.use({ viewport: { width: 900, height: 540 } });
  base('take first-run', async ({ page }) => {
    const server = new Server(readdirSync(join(ROOT, 'demo/pictures')).map((file) => file.replace(/\.png$/, '')));
    const frames = mkdtempSync(join(tmpdir(), 'film-'));
    try {
      await server.launch();
      await page.goto(server.url);
      await page.mouse.move(2, 2);
      const files: string[] = [];
      for (let frame = 0; frame < 40; frame++) {
        const path = join(frames, `${String(frame).padStart(3, '0')}.png`);
        await page.screenshot({ path });
        files.push(path);
        await page.waitForTimeout(180);
      }
      execFileSync('img2webp', ['-loop', '0', '-lossy', '-q', '55', '-d', '250', ...files, '-o', join(ROOT, 'docs/screenshots/first-run.webp')]);
    } finally {
      await server.remove();
      rmSync(frames, { recursive: true, force: true });
    }
  });
});
