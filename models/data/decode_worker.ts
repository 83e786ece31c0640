// A worker that reads, decodes and augments images, one after the other.
import type { Key } from "../../lib/random/threefry.ts";
import { decodeImage } from "./decode_image.ts";
import { type Augmentation, augmentImage } from "./preprocess.ts";

/** What a worker is asked for. */
export interface DecodeRequest {
  /** The image file. */
  path: string;
  /** Rows and columns of a view. */
  size: number;
  /** Which views. */
  augmentation: Augmentation;
  /** What random views follow from. */
  key: Key;
}

/** What becomes of a request: the views of an image, `[views, size, size, 3]`, or why there are none. */
export type DecodeResult =
  | { views: Uint8Array<ArrayBuffer> }
  | { broken: string };

/** The part of a worker's global scope that is used. */
const scope = globalThis as unknown as {
  onmessage: (event: MessageEvent<DecodeRequest>) => void;
  postMessage(message: DecodeResult | "ready", transfer?: Transferable[]): void;
};

scope.onmessage = async ({ data: { path, size, augmentation, key } }) => {
  try {
    const image = await decodeImage(await Deno.readFile(path));
    const crops = augmentImage(image, size, augmentation, key);
    const views = new Uint8Array(crops.length * size * size * 3);
    crops.forEach(({ data }, i) => views.set(data, i * data.length));
    scope.postMessage({ views }, [views.buffer]);
  } catch (error) {
    scope.postMessage({ broken: error instanceof Error ? error.message : String(error) });
  }
};
scope.postMessage("ready");
