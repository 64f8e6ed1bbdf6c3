// What another app shares: a picture is searched with, words are searched for.
import { expect, test, untilAllFetched } from './mock';

test('takes pictures and words that are shared with the installed app', async ({ page, mock }) => {
  await mock.start({ total: 100 });
  await page.goto(mock.url);
  const manifest = await (await page.request.get(new URL((await page.locator('link[rel="manifest"]').getAttribute('href'))!, mock.url).href)).json();
  expect(manifest.share_target).toMatchObject({ action: '/', method: 'POST', enctype: 'multipart/form-data' });
  await page.evaluate(() => navigator.serviceWorker.ready.then(() => undefined));
  await expect.poll(() => page.evaluate(() => navigator.serviceWorker.controller !== null)).toBe(true);
  const share = async (words: string, picture: boolean) => {
    // Firefox complains of what is still on its way when another page comes.
    await untilAllFetched(page);
    await page.evaluate(
      async ([words, picture]) => {
        const form = document.createElement('form');
        Object.assign(form, { method: 'post', enctype: 'multipart/form-data', action: '/' });
        const field = (name: string, type: string) => {
          const input = document.createElement('input');
          Object.assign(input, { name, type });
          form.append(input);
          return input;
        };
        field('text', 'text').value = String(words);
        if (picture) {
          const canvas = document.createElement('canvas');
          const blob = await new Promise<Blob | null>((done) => canvas.toBlob(done, 'image/png'));
          const files = new DataTransfer();
          files.items.add(new File([blob!], 'shared.png', { type: 'image/png' }));
          field('image', 'file').files = files.files;
        }
        document.body.append(form);
        form.submit();
      },
      [words, picture] as const,
    );
  };
  await share('coast at night', false);
  await expect(page.getByRole('heading', { name: 'Pictures of “coast at night”' })).toBeVisible();
  await share('', true);
  await expect(page.getByRole('heading', { name: 'Like your picture' })).toBeVisible();
  await untilAllFetched(page);
  expect(await page.evaluate(async () => (await caches.match('/shared-picture')) === undefined), 'it is kept for good').toBe(true);
});
