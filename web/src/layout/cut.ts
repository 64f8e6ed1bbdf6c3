// Cuts a part out of a picture that the page shows, to search with it.

/** A rectangle in shares of the picture's sides. */
export interface Part {
  left: number;
  top: number;
  width: number;
  height: number;
}

/** The part in pixels: whole ones, at least one, and none outside of the picture. */
export function inPixels(part: Part, width: number, height: number): Part {
  const left = Math.min(width - 1, Math.max(0, Math.round(part.left * width)));
  const top = Math.min(height - 1, Math.max(0, Math.round(part.top * height)));
  return {
    left,
    top,
    width: Math.min(width - left, Math.max(1, Math.round(part.width * width))),
    height: Math.min(height - top, Math.max(1, Math.round(part.height * height))),
  };
}

export async function cutOut(image: HTMLImageElement, part: Part): Promise<File | null> {
  const { left, top, width, height } = inPixels(part, image.naturalWidth, image.naturalHeight);
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [width, height];
  canvas.getContext('2d')?.drawImage(image, left, top, width, height, 0, 0, width, height);
  const blob = await new Promise<Blob | null>((done) => canvas.toBlob(done, 'image/jpeg', 0.92));
  return blob && new File([blob], 'part.jpg', { type: 'image/jpeg' });
}
