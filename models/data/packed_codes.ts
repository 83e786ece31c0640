// Codes of many images in one safetensors file, read a view at a time: `codes` of U16 or I32
// [count, augmentations, tokens], `labels` of I32 [count], and their meaning in the metadata.
import { z } from "npm:zod@4.6.7";
import { writeSafetensors } from "../../lib/formats/safetensors.ts";
import {
  arrayClass,
  headerLength,
  parseHeader,
  type PlacedEntry,
  PREFIX_BYTES,
  type SafetensorsHeader,
} from "../../lib/formats/safetensors_header.ts";
import { checkedIntegers, type CodeDataset, readEach } from "./codes.ts";

/** What the codes of a packed file mean. */
export interface CodeMeaning {
  /** Rows and columns of tokens. */
  grid: readonly [rows: number, columns: number];
  /** Number of different tokens. */
  vocabulary: number;
  /** Number of classes. */
  classes: number;
}

const wholeNumber = z.string().regex(/^[1-9]\d{0,8}$/).transform(Number);
const metadataSchema = z.object({
  grid: z.string().regex(/^[1-9]\d{0,4}x[1-9]\d{0,4}$/)
    .transform((text) => text.split("x").map(Number) as [number, number]),
  vocabulary: wholeNumber,
  classes: wholeNumber,
});

/**
 * The metadata of a packed file.
 *
 * @param meaning grid, vocabulary and number of classes
 * @returns texts by name
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { packedMetadata } from "./packed_codes.ts";
 *
 * const { grid } = packedMetadata({ grid: [16, 8], vocabulary: 4096, classes: 10 });
 * assertEquals(grid, "16x8");
 * ```
 */
export function packedMetadata(
  { grid, vocabulary, classes }: CodeMeaning,
): Record<keyof CodeMeaning, string> {
  return { grid: grid.join("x"), vocabulary: `${vocabulary}`, classes: `${classes}` };
}

/**
 * The dtype of a packed file's codes: the smaller one of U16 and I32 that holds the vocabulary.
 *
 * @param vocabulary number of different tokens
 * @returns the dtype's name
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { packedDtype } from "./packed_codes.ts";
 *
 * assertEquals([packedDtype(65536), packedDtype(65537)], ["U16", "I32"]);
 * ```
 */
export function packedDtype(vocabulary: number): "U16" | "I32" {
  return vocabulary <= 2 ** 16 ? "U16" : "I32";
}

/**
 * Writes codes that are in memory to a packed file, atomically.
 *
 * @param path where the file goes
 * @param content `codes`: `[count, augmentations, tokens]`; `labels`: `[count]`; what they mean
 * @returns a promise that resolves once the file is in place
 * @throws {TypeError} if the codes do not fill the images
 * @throws {RangeError} if a token or a label is out of range
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { openPackedCodes, writePackedCodes } from "./packed_codes.ts";
 *
 * const path = await Deno.makeTempFile();
 * const codes = new Int32Array([1, 2, 3, 4, 5, 6]);
 * const meaning = { grid: [1, 3], vocabulary: 8, classes: 10 } as const;
 * await writePackedCodes(path, { codes, labels: new Int32Array([7, 0]), ...meaning });
 * await using dataset = await openPackedCodes(path);
 * assertEquals((await dataset.read([1])).codes, new Int32Array([4, 5, 6]));
 * await Deno.remove(path);
 * ```
 */
export async function writePackedCodes(
  path: string | URL,
  { codes, labels, ...meaning }: CodeMeaning & {
    codes: ArrayLike<number>;
    labels: ArrayLike<number>;
  },
): Promise<void> {
  const count = labels.length;
  const tokens = meaning.grid[0] * meaning.grid[1];
  const augmentations = codes.length / (count * tokens);
  if (!(Number.isInteger(augmentations) && augmentations >= 1)) {
    throw new TypeError(
      `writePackedCodes: expected codes for ${count} images of ${tokens} tokens` +
        ` but found ${codes.length}`,
    );
  }
  const where = (name: string) => (i: number) => `writePackedCodes: ${name} at [${i}]`;
  const dtype = packedDtype(meaning.vocabulary);
  const checked = checkedIntegers(codes, meaning.vocabulary, "token", where("codes"));
  await writeSafetensors(path, {
    codes: {
      dtype,
      shape: [count, augmentations, tokens],
      data: new (arrayClass(dtype))(checked),
    },
    labels: {
      dtype: "I32",
      shape: [count],
      data: checkedIntegers(labels, meaning.classes, "label", where("labels")),
    },
  }, packedMetadata(meaning));
}

/**
 * Opens a packed file. Its labels are read and checked at once; codes are read and checked as they
 * are asked for, only those of the views asked for.
 *
 * @param path the file
 * @returns the dataset, which keeps the file open until it is disposed of
 * @throws {Error} if the file is broken; the message names it, the field, and the place
 *
 * @example
 * ```ts
 * import { assertRejects } from "@std/assert";
 * import { openPackedCodes } from "./packed_codes.ts";
 *
 * const path = await Deno.makeTempFile();
 * await assertRejects(() => openPackedCodes(path), Error, "at least 8 bytes");
 * await Deno.remove(path);
 * ```
 */
export async function openPackedCodes(path: string): Promise<CodeDataset> {
  const file = await Deno.open(path, { read: true });
  try {
    const dataset = readDataset(file, path);
    let isOpen = true;
    return {
      ...dataset,
      [Symbol.asyncDispose]() {
        if (isOpen) file.close();
        isOpen = false;
        return Promise.resolve();
      },
    };
  } catch (error) {
    file.close();
    throw error;
  }
}

function readDataset(
  file: Deno.FsFile,
  path: string,
): Omit<CodeDataset, typeof Symbol.asyncDispose> {
  const { size } = file.statSync();
  const headerBytes = headerLength(readAt(file, 0, Math.min(PREFIX_BYTES, size), path), size, path);
  const dataStart = PREFIX_BYTES + headerBytes;
  const header = readAt(file, PREFIX_BYTES, headerBytes, path);
  const { meaning, codes, labels } = checkHeader(parseHeader(header, size - dataStart, path), path);
  const [count, augmentations, tokens] = codes.shape;
  const labelBytes = readAt(file, dataStart + labels.begin, labels.byteLength, path);
  const ownLabels = checkedIntegers(
    new Int32Array(labelBytes.buffer),
    meaning.classes,
    "label",
    (i) => `${path}: tensor "labels" at [${i}]`,
  );
  const viewBytes = codes.byteLength / (count * augmentations);
  const Elements = codes.dtype === "U16" ? Uint16Array : Int32Array;
  const shape = { count, augmentations, tokens, ...meaning };
  return {
    ...shape,
    read: (indices, augmentation = 0) =>
      readEach(shape, indices, augmentation, (index, view) => {
        const begin = dataStart + codes.begin + (index * augmentations + view) * viewBytes;
        const values = new Elements(readAt(file, begin, viewBytes, path).buffer);
        const where = (i: number) => `${path}: tensor "codes" at [${index}, ${view}, ${i}]`;
        const own = checkedIntegers(values, meaning.vocabulary, "token", where);
        return { codes: own, label: ownLabels[index] };
      }),
  };
}

/** What a header says, if it is that of a packed file. */
function checkHeader({ metadata, entries }: SafetensorsHeader, path: string): {
  meaning: CodeMeaning;
  codes: PlacedEntry;
  labels: PlacedEntry;
} {
  const broken = (what: string) => new Error(`Broken code file ${path}: ${what}`);
  const checked = metadataSchema.safeParse(metadata);
  if (!checked.success) {
    const { path: field, message } = checked.error.issues[0];
    throw broken(`metadata "${field.join(".")}": ${message}`);
  }
  const meaning = checked.data;
  const entry = (name: string, dtypes: string[], rank: number) => {
    const found = entries.get(name);
    if (!found) throw broken(`it holds no tensor "${name}"`);
    if (!dtypes.includes(found.dtype)) {
      throw broken(
        `tensor "${name}": expected dtype ${dtypes.join(" or ")} but found ${found.dtype}`,
      );
    }
    if (found.shape.length !== rank || found.shape.includes(0)) {
      throw broken(
        `tensor "${name}": expected ${rank} sizes of at least 1 but found [${
          found.shape.join(", ")
        }]`,
      );
    }
    return found;
  };
  const codes = entry("codes", ["U16", "I32"], 3);
  const labels = entry("labels", ["I32"], 1);
  const [count, , tokens] = codes.shape;
  if (labels.shape[0] !== count) {
    throw broken(`tensor "labels": expected shape [${count}] but found [${labels.shape[0]}]`);
  }
  const [rows, columns] = meaning.grid;
  if (tokens !== rows * columns) {
    throw broken(
      `tensor "codes": expected ${rows * columns} tokens for the grid ${rows}x${columns}` +
        ` but found ${tokens}`,
    );
  }
  return { meaning, codes, labels };
}

/** Reads at a place without yielding, so that reads that are under way at once do not meet. */
function readAt(
  file: Deno.FsFile,
  position: number,
  length: number,
  path: string,
): Uint8Array<ArrayBuffer> {
  file.seekSync(position, Deno.SeekMode.Start);
  const bytes = new Uint8Array(length);
  for (let offset = 0; offset < length;) {
    const count = file.readSync(bytes.subarray(offset));
    if (count === null) throw new Error(`Broken code file ${path}: it became shorter while read`);
    offset += count;
  }
  return bytes;
}
