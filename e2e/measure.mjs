// How soon pictures are there, in Chromium on a running server with an indexed library: `npm run measure -- http://localhost:3000 [rounds]`.
// Counted from the beginning of the navigation, each round in a new profile, so that nothing is kept from the one before.
import { chromium } from '@playwright/test';

const [url = 'http://localhost:3000', rounds = '4'] = process.argv.slice(2);

/** Resolves with the milliseconds since the navigation when every tile in sight has what is asked for, looked at in every frame. */
function whenAllInSight(what) {
  const have = {
    colours: (tile) => tile.querySelector('canvas, img.loaded'),
    pictures: (tile) => tile.querySelector('img.loaded'),
  }[what];
  return new Promise((done) => {
    const look = () => {
      const tiles = [...document.querySelectorAll('#results a[data-index]')].filter((tile) => {
        const { top, bottom } = tile.getBoundingClientRect();
        return bottom > 0 && top < innerHeight;
      });
      if (tiles.length > 0 && tiles.every(have)) done({ ms: performance.now(), tiles: tiles.length });
      else requestAnimationFrame(look);
    };
    look();
  });
}

const rows = [];
for (let round = 1; round <= Number(rounds); round++) {
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox', '--disable-gpu'] });
  const page = await browser.newPage({ viewport: { width: 1280, height: 800 }, reducedMotion: 'reduce' });
  await page.goto(url, { waitUntil: 'commit' });
  const colours = await page.evaluate(whenAllInSight, 'colours');
  const pictures = await page.evaluate(whenAllInSight, 'pictures');
  const paint = await page.evaluate(() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0);
  // As fast as a thumb on the scrollbar goes, until the end is reached or a hundred screens went by; then what is in sight counts.
  let last = 0;
  let still = 0;
  for (let step = 0; step < 40; step++) {
    const { top, now } = await page.evaluate(() => {
      window.scrollBy(0, innerHeight * 2.5);
      return { top: window.scrollY, now: performance.now() };
    });
    if (top === last) break;
    [last, still] = [top, now];
    await page.waitForTimeout(50);
  }
  const after = await page.evaluate(whenAllInSight, 'pictures');
  rows.push({ paint, colours: colours.ms, pictures: pictures.ms, tiles: pictures.tiles, 'after a fast scroll': after.ms - still, screens: last / 800 });
  await browser.close();
}
console.table(rows.map((row) => Object.fromEntries(Object.entries(row).map(([name, value]) => [name, Math.round(value)]))));
