// What people see of models: a download under way, the stand-in without a network, and the change to the real one.
import { Hub } from './hub';
import { expect, Server, test } from './server';

test('shows how far the download is, and answers by itself when it is done', async ({ page }) => {
  const hub = new Hub();
  await hub.start();
  const server = new Server(['tennis', 'owl', 'pizza'], 'ViT-B-32__openai', { HF_ENDPOINT: hub.url });
  try {
    await server.launch();
    await page.goto(`${server.url}/?q=tennis`);
    await expect(page.getByRole('heading', { name: 'The model is being downloaded' })).toBeVisible();
    const bar = page.getByRole('progressbar', { name: 'Model downloaded' });
    await expect.poll(async () => Number(await bar.getAttribute('aria-valuenow'))).toBeGreaterThan(30);
    expect(Number(await bar.getAttribute('aria-valuenow'))).toBeLessThan(100);
    await expect(page.getByRole('button', { name: /Model \d+ %/ })).toBeVisible();
    hub.letThrough();
    await expect(page.locator('li a').getByAltText('tennis.png')).toBeVisible({ timeout: 30_000 });
  } finally {
    hub.stop();
    await server.remove();
  }
});

test('says why it is not CLIP, and changes over when CLIP arrives', async ({ page }) => {
  const hub = new Hub();
  await hub.start();
  hub.letThrough();
  const server = new Server(['tennis', 'owl', 'pizza'], 'auto', { HF_ENDPOINT: 'http://127.0.0.1:9', IMAGE_SEARCH_MODELS__ATTEMPTS_MAX: '1' });
  try {
    await server.start();
    await page.goto(server.url);
    await expect(page.getByText('A small built-in model answers for now.')).toBeVisible();
    await page.getByRole('button', { name: 'Why?' }).click();
    await expect(page.getByRole('dialog').getByText('This is not CLIP')).toBeVisible();
    await expect(page.getByRole('dialog').getByText('Small built-in model (emoji-clip)')).toBeVisible();
    await page.keyboard.press('Escape');
    await server.run(['model', 'pull', 'ViT-B-32__openai'], { HF_ENDPOINT: hub.url });
    await expect(page.getByText('A small built-in model answers for now.')).toBeHidden({ timeout: 30_000 });
    await page.goto(`${server.url}/?q=tennis`);
    await expect(page.locator('li a img').first()).toHaveAttribute('alt', 'tennis.png');
  } finally {
    hub.stop();
    await server.remove();
  }
});
