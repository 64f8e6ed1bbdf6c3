// Results that end: strong matches, a fold, what is less likely; copies as one tile; selections; growing pictures.
import { readFileSync } from 'node:fs';
import { expect, test } from './mock';

test('ends with what is likely; the rest is shown when asked for', async ({ page, mock }) => {
  await mock.start({ total: 400 });
  await page.goto(`${mock.url}/?q=harbour`);
  await expect(page.getByText('50 strong matches')).toBeVisible();
  const more = page.getByRole('button', { name: 'Show less likely pictures' });
  await expect(async () => {
    await page.mouse.wheel(0, 4000);
    await expect(more).toBeInViewport({ timeout: 300 });
  }).toPass();
  await expect(page.getByRole('heading', { name: 'Less likely' })).toBeHidden();
  await more.click();
  const less = page.getByRole('heading', { name: 'Less likely' });
  await expect(less).toBeVisible();
  // What comes below is weak, and nothing above is.
  const [above, below] = await less.evaluate((heading) => {
    const line = heading.getBoundingClientRect().top;
    const tiles = [...document.querySelectorAll('#results a[data-index]')].map((tile) => ({ top: tile.getBoundingClientRect().top, score: Number(/[\d.]+$/.exec(tile.querySelector('.score')!.textContent!)![0]) }));
    return [tiles.filter(({ top }) => top < line), tiles.filter(({ top }) => top >= line)].map((part) => part.map(({ score }) => score));
  });
  expect(Math.min(...above!)).toBeGreaterThan(0.19);
  expect(Math.max(...below!)).toBeLessThanOrEqual(0.19);
  await page.reload();
  await expect(page.getByText('50 strong matches')).toBeVisible();
});

test('says in words when no match is strong', async ({ page, mock }) => {
  await mock.start({ total: 400 });
  await page.goto(`${mock.url}/?q=harvest`);
  await expect(page.getByText('No strong match. These come nearest.')).toBeVisible();
  await expect(page.getByText('0 strong matches')).toBeHidden();
});

test('says when nothing really fits, and shows the best guesses', async ({ page, mock }) => {
  await mock.start({ total: 100 });
  await page.goto(`${mock.url}/?q=zxqv+blorf`);
  await expect(page.getByText('Nothing really fits. These are the best guesses.')).toBeVisible();
  await expect(page.locator('a[data-index]').first()).toBeVisible();
  await expect(page.getByRole('button', { name: 'Show less likely pictures' })).toBeHidden();
});

test('shows copies as one tile, which fans out', async ({ page, mock }) => {
  await mock.start({ total: 100 });
  await page.goto(`${mock.url}/?q=harbour`);
  await page.getByRole('button', { name: '6 copies of this picture' }).first().click();
  const panel = page.getByRole('dialog', { name: 'The same picture, several times' });
  await expect(panel.getByRole('button', { name: /copies\/1\// })).toBeVisible();
  await expect(panel.getByText('And 3 more.')).toBeVisible();
  await panel.getByRole('listitem').first().getByRole('button').click();
  await expect(page.getByRole('dialog').getByText(/JPEG/)).toBeVisible();
  await page.keyboard.press('Escape');
  await expect(page.getByRole('dialog')).toBeHidden();
});

test('selects with shift and with the keyboard, copies paths, downloads as a zip file', { tag: '@chromium' }, async ({ page, mock, context, complaints }) => {
  await context.grantPermissions(['clipboard-read', 'clipboard-write']);
  await mock.start({ total: 100 });
  await page.goto(`${mock.url}/?q=harbour`);
  const tile = (index: number) => page.locator(`a[data-index="${index}"]`);
  await tile(0).click({ modifiers: ['Shift'] });
  await tile(3).click({ modifiers: ['Shift'] });
  const bar = page.getByRole('region', { name: 'Selection' });
  await expect(bar.getByText('4 selected')).toBeVisible();
  await tile(3).focus();
  await page.keyboard.press('x');
  await expect(bar.getByText('3 selected')).toBeVisible();
  await bar.getByRole('button', { name: 'Copy paths' }).click();
  await expect(bar.getByText('3 paths are copied.')).toBeVisible();
  const paths = (await page.evaluate(() => navigator.clipboard.readText())).split('\n');
  expect(paths.every((path) => path.startsWith('/home/me/pictures/'))).toBe(true);
  const names = paths.map((path) => path.replace('/home/me/pictures/', ''));
  expect(names).toEqual(await Promise.all([0, 1, 2].map((index) => tile(index).locator('img').getAttribute('alt'))));
  const saved = page.waitForEvent('download');
  await bar.getByRole('button', { name: 'Download as zip' }).click();
  const file = await saved;
  expect(file.suggestedFilename()).toBe('pictures.zip');
  // The stand-in's file is the list of what was asked for.
  expect(JSON.parse(readFileSync(await file.path(), 'utf8'))).toEqual(names);
  mock.world.refusesZip = true;
  await bar.getByRole('button', { name: 'Download as zip' }).click();
  await expect(bar.getByText('The download did not begin.')).toBeVisible();
  expect(complaints.splice(0).every((each) => each.includes('frame-ancestors')), 'only that the refusal is not shown').toBe(true);
  await expect(page.getByRole('heading', { name: 'Pictures of “harbour”' })).toBeVisible();
  await page.keyboard.press('Escape');
  await expect(bar).toBeHidden();
  await tile(0).click();
  await expect(page.getByRole('dialog')).toBeVisible();
});

test('the tile grows into the large picture and shrinks back, unless motion is unwanted', { tag: '@chromium' }, async ({ page, mock }) => {
  await mock.start({ total: 100 });
  await page.emulateMedia({ reducedMotion: 'no-preference' });
  await page.addInitScript(() => {
    const start = document.startViewTransition.bind(document);
    (window as any).grown = [];
    document.startViewTransition = ((change: () => Promise<void>) => {
      const transition = start(change);
      void transition.ready.then(() => (window as any).grown.push(document.getAnimations().some(({ effect }) => (effect as KeyframeEffect).pseudoElement?.includes('(picture)'))));
      return transition;
    }) as typeof document.startViewTransition;
  });
  const grown = () => page.evaluate(() => (window as any).grown as boolean[]);
  await page.goto(`${mock.url}/?q=harbour`);
  await page.locator('a[data-index="1"]').click();
  await expect.poll(grown).toEqual([true]);
  await page.keyboard.press('Escape');
  await expect.poll(grown).toEqual([true, true]);
  await expect(page.locator('a[data-index="1"]')).toBeFocused();
  await page.emulateMedia({ reducedMotion: 'reduce' });
  await page.reload();
  await page.locator('a[data-index="1"]').click();
  await expect(page.getByRole('dialog')).toBeVisible();
  await page.goBack();
  await expect(page.getByRole('dialog')).toBeHidden();
  expect(await grown()).toEqual([]);
});

test('a thumb stays visible on the tile', async ({ page, mock }) => {
  await mock.start({ total: 100 });
  await page.goto(`${mock.url}/?q=harbour`);
  await page.locator('a[data-index="0"]').click();
  await page.getByRole('button', { name: 'Fits the search', exact: true }).click();
  await expect(page.getByText('Thank you, noted.')).toBeVisible();
  await page.keyboard.press('Escape');
  await expect(page.locator('li', { has: page.locator('a[data-index="0"]') }).getByRole('img', { name: 'You said: fits' })).toBeVisible();
});
