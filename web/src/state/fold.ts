// Where the pictures that fit less begin. What was learned from ratings puts some out of the order of their scores: the fold is
// where it parts the best.
import type { Strength } from '../api/client';

interface Judged {
  image_name: string;
  strength?: Strength;
}

/** The first picture that is less likely to fit; -1 if none is. What the user likes fits, whatever it scores. */
export function foldOf(pictures: readonly Judged[], thumbs: ReadonlyMap<string, boolean>): number {
  const isWeak = ({ image_name, strength }: Judged) => strength === 'weak' && thumbs.get(image_name) !== true;
  const weak = pictures.filter(isWeak).length;
  if (weak === 0) return -1;
  // How many stand on the wrong side: weak ones before the fold, others behind it.
  let wrong = pictures.length - weak;
  let [best, fold] = [wrong, 0];
  pictures.forEach((picture, index) => {
    wrong += isWeak(picture) ? 1 : -1;
    if (wrong < best) [best, fold] = [wrong, index + 1];
  });
  return fold < pictures.length ? fold : -1;
}
