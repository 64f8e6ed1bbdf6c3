// Starts the real program on a temporary copy of a few demo pictures, and gives tests a page that fails them when
// anything breaks the Content-Security-Policy or throws.
import { test as base, expect } from '@playwright/test';
import { spawn, type ChildProcess } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { crc32 } from 'node:zlib';

export const ROOT = resolve(import.meta.dirname, '../..');
export const API_KEY = 'a-key-only-for-these-tests';
const BINARY = resolve(process.env.IMAGE_SEARCH_BIN ?? join(ROOT, 'target/debug/image-search'));
const READY_MAX_MS = 60_000;
const PNG_END_BYTES = 12;
const TAKEN = ['abacus', 'airplane', 'alarm-clock', 'ambulance', 'anchor', 'automobile', 'avocado', 'baby-bottle', 'balloon', 'banana', 'basketball', 'beer-mug', 'bicycle', 'birthday-cake', 'bouquet', 'bus', 'cactus', 'camera', 'cherry-blossom', 'clown-face', 'crab', 'dog-face', 'elephant', 'fire', 'fish', 'grapes', 'guitar', 'hamburger', 'hot-beverage', 'key', 'lion', 'mushroom', 'octopus', 'owl', 'panda', 'penguin', 'pizza', 'rainbow', 'red-apple', 'red-heart', 'rocket', 'rose', 'sailboat', 'snowman', 'strawberry', 'sunflower', 'tennis', 'tiger-face', 'tulip', 'turtle', 'umbrella', 'violin', 'watermelon', 'whale'];

export const demoPicture = (name: string) => join(ROOT, 'demo/pictures', `${name}.png`);

export class Server {
  readonly directory = mkdtempSync(join(tmpdir(), 'image-search-e2e-'));
  readonly folder = join(this.directory, 'pictures');
  url = '';
  #port = 0;
  #expected = 0;
  #program: ChildProcess | null = null;

  /** `model` is a folder or a name; `environment` is for what its download needs. */
  constructor(pictures: string[] = TAKEN, readonly model = join(ROOT, 'models/emoji-clip'), readonly environment: Record<string, string> = {}) {
    mkdirSync(this.folder);
    for (const name of pictures) copyFileSync(demoPicture(name), join(this.folder, `${name}.png`));
    this.#expected = pictures.length;
  }

  add(name: string) {
    copyFileSync(demoPicture(name), join(this.folder, `${name}.png`));
  }

  /** The same pixels in another file: a copy that is no exact one. `path` may have folders. */
  addVariant(name: string, path: string) {
    const png = readFileSync(demoPicture(name));
    const end = png.length - PNG_END_BYTES;
    const words = Buffer.from(`tEXtComment\0${path}`);
    const framed = Buffer.alloc(words.length + 8);
    framed.writeUInt32BE(words.length - 4, 0);
    words.copy(framed, 4);
    framed.writeUInt32BE(crc32(words), words.length + 4);
    const file = join(this.folder, path);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, Buffer.concat([png.subarray(0, end), framed, png.subarray(end)]));
    this.#expected++;
  }

  addBroken(name: string) {
    // Noise: a text would be left alone instead of failing.
    writeFileSync(join(this.folder, name), Buffer.from([0x9b, 0, 0x17, 0xfe, 2, 0x9b, 0, 0x17, 0xfe, 2]));
  }

  /** Starts it, and waits until it is ready and every picture was looked at. */
  async start() {
    await this.launch(() => this.#indexed());
  }

  /** Starts it, and waits for what `until` finds; without one, until it answers. */
  async launch(until = async () => (await fetch(`${this.url}/healthz`)).ok) {
    this.#port ||= await freePort();
    this.url = `http://127.0.0.1:${this.#port}`;
    const settings = ['serve', '--images', this.folder, '--data-dir', join(this.directory, 'data'), '--port', String(this.#port), '--model', this.model];
    // The program refuses settings it does not know, and IMAGE_SEARCH_BIN is one; the tests' own settings stand alone.
    const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith('IMAGE_SEARCH_') && !name.startsWith('HF_'));
    const own = { HF_HOME: join(this.directory, 'hub'), IMAGE_SEARCH_UPLOADS__ENABLED: 'true', IMAGE_SEARCH_UPLOADS__API_KEY: API_KEY };
    const env = { ...Object.fromEntries(inherited), ...own, ...this.environment };
    this.#program = spawn(BINARY, settings, { env, cwd: ROOT, stdio: ['ignore', 'ignore', process.env.E2E_LOG ? 'inherit' : 'ignore'] });
    const failed = new Promise<never>((_, reject) => {
      this.#program!.once('error', reject);
      this.#program!.once('exit', (code) => reject(new Error(`${BINARY} ended with ${code} before it was ready; E2E_LOG=1 shows its log`)));
    });
    // Ends also happen on purpose, later.
    failed.catch(() => {});
    await Promise.race([failed, this.#wait(until)]);
  }

  /** Runs another command beside it, for example `model pull NAME`. */
  async run(words: string[], more: Record<string, string>) {
    const env = { PATH: process.env.PATH, HF_HOME: join(this.directory, 'hub'), ...more };
    const program = spawn(BINARY, words, { env, cwd: ROOT, stdio: ['ignore', 'ignore', 'inherit'] });
    const code = await new Promise((done) => program.once('exit', done));
    if (code !== 0) throw new Error(`${words.join(' ')} ended with ${code}`);
  }

  async stop() {
    const program = this.#program;
    this.#program = null;
    if (!program || program.exitCode !== null) return;
    const gone = new Promise((done) => program.once('exit', done));
    program.kill('SIGTERM');
    const slow = setTimeout(() => program.kill('SIGKILL'), 10_000);
    await gone;
    clearTimeout(slow);
  }

  async remove() {
    await this.stop();
    rmSync(this.directory, { recursive: true, force: true });
  }

  async #indexed() {
    const ready = await fetch(`${this.url}/readyz`);
    const { images } = await (await fetch(`${this.url}/api/v1/status`)).json();
    return ready.ok && images.pending === 0 && images.total >= this.#expected;
  }

  async #wait(until: () => Promise<boolean>) {
    const deadline = Date.now() + READY_MAX_MS;
    while (Date.now() < deadline) {
      try {
        if (await until()) return;
      } catch {
        // Not listening yet.
      }
      await new Promise((done) => setTimeout(done, 200));
    }
    throw new Error(`${BINARY} was not ready after ${READY_MAX_MS / 1000} s; E2E_LOG=1 shows its log`);
  }
}

export function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const probe = createServer().listen(0, '127.0.0.1', () => {
      const { port } = probe.address() as { port: number };
      probe.close(() => resolve(port));
    });
  });
}

export const test = base.extend<{ complaints: string[] }, { server: Server }>({
  server: [
    async ({}, use) => {
      const server = new Server();
      server.addBroken('broken.png');
      await server.start();
      await use(server);
      await server.remove();
    },
    { scope: 'worker' },
  ],
  baseURL: async ({ server }, use) => use(server.url),
  complaints: [
    async ({ page }, use) => {
      const complaints: string[] = [];
      page.on('pageerror', (error) => complaints.push(String(error)));
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
