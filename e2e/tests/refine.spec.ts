// The query as parts: what it is not, words against picture, and a part of a picture to search with.
import { expect, test } from './mock';

test('a picture can be named as unlike what is meant, also by its large view, and be allowed again', async ({ page, mock }) => {
  await mock.start({ total: 200 });
  await page.goto(`${mock.url}/?q=harbour`);
  const first = page.locator('a[data-index="0"]');
  const name = (await first.locator('img').getAttribute('alt'))!;
  const file = name.split('/').at(-1)!;
  await first.hover();
  await page.getByRole('button', { name: `Not like ${file}` }).click();
  await expect(page.getByRole('list', { name: 'Not wanted' }).getByText(`Not like ${file}`)).toBeVisible();
  await expect(page.getByAltText(name, { exact: true })).toBeHidden();
  expect(mock.world.searches.at(-1)).toMatchObject({ queries: [{ text: 'harbour', weight: 1 }, { image_name: name, weight: -0.5 }], strength: true, collapse: true });
  expect(new URL(page.url()).searchParams.get('notlike')).toBe(name);

  await page.locator('a[data-index="0"]').click();
  await page.getByRole('dialog').getByRole('button', { name: 'Not like this' }).click();
  await expect(page.getByRole('dialog')).toBeHidden();
  await expect(page.getByRole('list', { name: 'Not wanted' }).getByRole('listitem')).toHaveCount(2);
  await page.goBack();
  await page.goBack();
  await expect(page.getByRole('list', { name: 'Not wanted' }).getByRole('listitem')).toHaveCount(1);
  await page.getByRole('button', { name: `Allow ${file} again` }).click();
  await expect(page.getByAltText(name, { exact: true }).first()).toBeVisible();
  expect(mock.world.searches.at(-1)).toMatchObject({ text: 'harbour' });
});

test('words beside a picture are weighed against it', async ({ page, mock }) => {
  await mock.start({ total: 200 });
  await page.goto(`${mock.url}/?like=harbour/00001.jpg&q=coast`);
  const slider = page.getByRole('slider', { name: 'How much the words count beside the picture' });
  await expect(slider).toHaveAttribute('aria-valuetext', 'Words 50 %, picture 50 %');
  expect(mock.world.searches.at(-1).queries).toEqual([{ text: 'coast', weight: 1 }, { image_name: 'harbour/00001.jpg', weight: 1 }]);
  await slider.fill('80');
  await expect(slider).toHaveAttribute('aria-valuetext', 'Words 80 %, picture 20 %');
  await expect.poll(() => mock.world.searches.at(-1).queries).toEqual([{ text: 'coast', weight: 1 }, { image_name: 'harbour/00001.jpg', weight: 0.4 }]);
  await page.reload();
  await expect(slider).toHaveAttribute('aria-valuetext', 'Words 80 %, picture 20 %');
  await page.getByLabel('Search pictures by words').fill('');
  await expect(slider).toBeHidden();
});

test('older servers are asked nothing that they do not know', async ({ page, mock }) => {
  await mock.start({ total: 100, rich: false });
  await page.goto(`${mock.url}/?q=harbour`);
  await page.locator('a[data-index="0"]').hover();
  await expect(page.getByRole('button', { name: /^More like/ }).first()).toBeVisible();
  await expect(page.getByRole('button', { name: /^Not like/ })).toBeHidden();
  await expect(page.getByRole('button', { name: 'Filter', exact: true })).toBeHidden();
  expect(mock.world.searches).toEqual([expect.not.objectContaining({ strength: true })]);
});

test('a part of a picture, drawn or moved with the keys, is searched with', async ({ page, mock }) => {
  await mock.start({ total: 100 });
  await page.goto(mock.url);
  await page.locator('a[data-index="0"]').click();
  const dialog = page.getByRole('dialog');
  await dialog.getByRole('button', { name: 'Search with a part' }).click();
  const area = dialog.getByRole('group', { name: /^Part to search with/ });
  await expect(area).toBeFocused();
  const box = (await area.boundingBox())!;
  const answer = (await dialog.getByRole('button', { name: 'Search with this part' }).boundingBox())!;
  expect(answer.height, 'the button lies over the picture').toBeLessThan(50);
  await page.mouse.move(box.x + box.width * 0.1, box.y + box.height * 0.1);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width * 0.5, box.y + box.height * 0.6, { steps: 4 });
  await page.mouse.up();
  const part = area.locator('.part');
  const size = async () => (await part.boundingBox())!;
  await expect.poll(async () => Math.abs((await size()).width / box.width - 0.4)).toBeLessThan(0.02);
  await expect.poll(async () => Math.abs((await size()).height / box.height - 0.5)).toBeLessThan(0.02);
  const drawn = await size();
  await page.keyboard.press('Shift+ArrowRight');
  await expect.poll(async () => (await size()).width).toBeGreaterThan(drawn.width);
  await page.keyboard.press('Enter');
  await expect(page.getByRole('heading', { name: 'Like your picture' })).toBeVisible();
  await expect(dialog).toBeHidden();
  // As a form, with the picture in it.
  expect(mock.world.searches.some(({ form }) => form)).toBe(true);
});

test('the picture that is searched with is the part, not the whole', async ({ page, mock }) => {
  await mock.start({ total: 100 });
  await page.goto(mock.url);
  const sizes: number[][] = [];
  await page.exposeFunction('tell', (width: number, height: number) => sizes.push([width, height]));
  await page.addInitScript(() => {
    const original = HTMLCanvasElement.prototype.toBlob;
    HTMLCanvasElement.prototype.toBlob = function (...rest: Parameters<typeof original>) {
      void (window as unknown as { tell(w: number, h: number): void }).tell(this.width, this.height);
      return original.apply(this, rest);
    };
  });
  await page.reload();
  await page.locator('a[data-index="0"]').click();
  const dialog = page.getByRole('dialog');
  await dialog.getByRole('button', { name: 'Search with a part' }).click();
  const whole = await dialog.locator('.frame img').nth(1).evaluate((img: HTMLImageElement) => [img.naturalWidth, img.naturalHeight]);
  await dialog.getByRole('button', { name: 'Search with this part' }).click();
  await expect(page.getByRole('heading', { name: 'Like your picture' })).toBeVisible();
  expect(sizes).toEqual([whole.map((side) => Math.round(side / 2))]);
});
