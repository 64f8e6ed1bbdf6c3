// Paints a ThumbHash, the 20 to 30 bytes that come with a picture: its colours, before it is there.
import { thumbHashToRGBA } from 'thumbhash';

const BYTES_MIN = 5;

/** Draws it on a canvas that CSS stretches to the picture's place; what is no ThumbHash draws nothing. */
export function paintPreview(canvas: HTMLCanvasElement, base64: string) {
  const bytes = decode(base64);
  if (bytes.length < BYTES_MIN) return;
  const { w, h, rgba } = thumbHashToRGBA(bytes);
  canvas.width = w;
  canvas.height = h;
  canvas.getContext('2d')?.putImageData(new ImageData(new Uint8ClampedArray(rgba), w, h), 0, 0);
}

function decode(base64: string): Uint8Array {
  try {
    return Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
  } catch {
    return new Uint8Array();
  }
}
