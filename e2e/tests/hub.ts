// A stand-in for the model hub that serves the bundled model as if it were CLIP, with a gate: while it is closed, large
// files stop half-way.
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join, relative } from 'node:path';
import { ROOT } from './server';

const COMMIT = '0123456789abcdef0123456789abcdef01234567';
const FOLDER = join(ROOT, 'models/emoji-clip');
const REPOSITORY = 'immich-app/ViT-B-32__openai';

export class Hub {
  url = '';
  #server: Server;
  #open!: () => void;
  #gate = new Promise<void>((resolve) => (this.#open = resolve));

  constructor() {
    const files = readdirSync(FOLDER, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
    const names = files.map((entry) => relative(FOLDER, join(entry.parentPath, entry.name)));
    this.#server = createServer(async (request, response) => {
      const path = new URL(request.url!, 'http://hub').pathname;
      if (path === `/api/models/${REPOSITORY}/revision/main`) {
        response.end(JSON.stringify({ sha: COMMIT, siblings: names.map((rfilename) => ({ rfilename })) }));
        return;
      }
      const name = path.replace(`/${REPOSITORY}/resolve/${COMMIT}/`, '');
      if (!names.includes(name) || !statSync(join(FOLDER, name)).isFile()) {
        response.writeHead(404).end();
        return;
      }
      const bytes = readFileSync(join(FOLDER, name));
      const etag = createHash('sha256').update(bytes).digest('hex');
      response.writeHead(200, { 'Content-Length': bytes.length, ETag: `"${etag}"` });
      if (request.method === 'HEAD') {
        response.end();
        return;
      }
      response.write(bytes.subarray(0, bytes.length / 2));
      if (name.endsWith('.onnx')) await this.#gate;
      response.end(bytes.subarray(bytes.length / 2));
    });
  }

  async start() {
    await new Promise<void>((done) => this.#server.listen(0, '127.0.0.1', done));
    this.url = `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  letThrough() {
    this.#open();
  }

  stop() {
    this.#open();
    this.#server.closeAllConnections();
    this.#server.close();
  }
}
