// "Back" and a reload return to the exact place: the same pictures where they stood, not the top.
import type { Page } from '@playwright/test';
import { expect, test } from './mock';

/** Scrolls down page after page, and says which picture stands where. */
async function goDown(page: Page, least: number) {
  await expect(page.locator('a[data-index]').first()).toBeVisible();
  await expect
    .poll(async () => {
      // As a wheel does, but at once: what a real one was turned by may arrive when nobody expects it any more.
      return page.evaluate(() => {
        window.dispatchEvent(new WheelEvent('wheel', { deltaY: 2500, bubbles: true }));
        window.scrollBy(0, 2500);
        return window.scrollY;
      });
    })
    .toBeGreaterThan(least);
  // Until what was scrolled into sight is there.
  await page.evaluate(
    () =>
      new Promise<void>((done) => {
        let [last, still] = [-1, 0];
        const look = () => {
          still = window.scrollY === last ? still + 1 : 0;
          last = window.scrollY;
          if (still > 10) done();
          else requestAnimationFrame(look);
        };
        look();
      }),
  );
  await expect.poll(async () => (await inSight(page)) !== null).toBe(true);
  return (await inSight(page))!;
}

const inSight = (page: Page) =>
  page.evaluate(() => {
    const tiles = [...document.querySelectorAll<HTMLElement>('#results a[data-index]')].map((tile) => ({ tile, box: tile.getBoundingClientRect() }));
    const first = tiles.filter(({ box }) => box.top > 90 && box.bottom < innerHeight).sort((a, b) => a.box.top - b.box.top || a.box.left - b.box.left)[0];
    return first ? { name: first.tile.querySelector('img')!.alt, top: Math.round(first.box.top) } : null;
  });

async function expectBackAt(page: Page, place: { name: string; top: number }) {
  const tile = page.locator('#results a', { has: page.getByAltText(place.name, { exact: true }) });
  await expect(tile).toBeInViewport();
  await expect.poll(async () => Math.abs(((await tile.boundingBox())?.y ?? 1e9) - place.top)).toBeLessThanOrEqual(2);
}

for (const rich of [false, true]) {
  test.describe(rich ? 'with pages after a picture' : 'with pages by number', () => {
    test('comes back to the place after "More like this"', async ({ page, mock }) => {
      await mock.start({ total: 2000, rich });
      await page.goto(mock.url);
      const place = await goDown(page, 9000);
      const tile = page.locator('#results li', { has: page.getByAltText(place.name, { exact: true }) });
      await tile.hover();
      // To hover and to click, Firefox is made to scroll a little.
      place.top = (await tile.boundingBox())!.y;
      await tile.getByRole('button', { name: /^More like/ }).dispatchEvent('click');
      await expect(page.getByRole('heading', { name: /^More like/ })).toBeVisible();
      await expect(page.locator('a[data-index="0"]')).toBeInViewport();
      await page.goBack();
      await expect(page).toHaveURL(`${mock.url}/`);
      await expectBackAt(page, place);
    });

    test('comes back to the place after a reload', async ({ page, mock }) => {
      await mock.start({ total: 2000, rich });
      await page.goto(mock.url);
      const place = await goDown(page, 9000);
      await page.reload();
      await expectBackAt(page, place);
    });
  });
}

test('comes back to the place in results, from the large picture, from elsewhere, and forward again', async ({ page, mock }) => {
  await mock.start({ total: 2000, rich: false });
  await page.goto(`${mock.url}/?q=harbour`);
  const place = await goDown(page, 6000);
  await page.locator('#results a', { has: page.getByAltText(place.name, { exact: true }) }).dispatchEvent('click');
  const large = page.getByRole('dialog');
  await large.getByRole('button', { name: 'More like this' }).click();
  await expect(page.getByRole('heading', { name: /^More like/ })).toBeVisible();
  const further = await goDown(page, 3000);
  // First the large picture, then the list below it.
  await page.goBack();
  await expect(large.getByRole('heading')).toBeVisible();
  await page.keyboard.press('Escape');
  await expect(large).toBeHidden();
  await expectBackAt(page, place);
  // Not about:blank, which Firefox forgets.
  await page.goto(`${mock.url}/favicon.svg`);
  await page.goBack();
  await expectBackAt(page, place);
  // By script: what Firefox shows again from its memory, Playwright waits for in vain.
  for (const [step, address] of [[1, /favicon\.svg$/], [-1, /q=harbour$/]] as const) {
    await page.evaluate((step) => setTimeout(() => history.go(step)), step).catch(() => {});
    await expect.poll(() => page.evaluate(() => location.href).catch(() => '')).toMatch(address);
  }
  await page.locator('#results a', { has: page.getByAltText(place.name, { exact: true }) }).dispatchEvent('click');
  await expect(large).toBeVisible();
  await page.goBack();
  await expectBackAt(page, place);
  expect(further.name).not.toBe('');
});

test('a new search begins at its top', async ({ page, mock }) => {
  await mock.start({ total: 2000, rich: false });
  await page.goto(mock.url);
  await goDown(page, 3000);
  await page.getByLabel('Search pictures by words').fill('coast');
  await expect(page.getByRole('heading', { name: 'Pictures of “coast”' })).toBeVisible();
  expect(await page.evaluate(() => window.scrollY)).toBe(0);
});
