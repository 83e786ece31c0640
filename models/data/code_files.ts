// Codes of images in .npy files, one image a file, in the layouts of LlamaGen and of RandAR and ARPG.
import { readNpy } from "../../lib/formats/npy.ts";
import { checkedIntegers, type CodeDataset, readEach } from "./codes.ts";
import { openPackedCodes } from "./packed_codes.ts";

/** What .npy files do not say of the codes in them. */
export interface CodeFileOptions {
  /** Number of different tokens, by default 16384. */
  vocabulary?: number;
  /** Number of classes, by default 1000. */
  classes?: number;
  /** Rows and columns of tokens; by default a square. */
  grid?: readonly [rows: number, columns: number];
}

/**
 * Opens pre-extracted codes of any layout: our packed file; LlamaGen's
 * `imagenet{S}_codes/{i}.npy` (1, augmentations, tokens) with `imagenet{S}_labels/{i}.npy`; or
 * RandAR's and ARPG's `{class}/{index}.npy` (augmentations, tokens), whose classes are numbers or,
 * where a name is none, numbered in the order of the names. Files are read as they are asked for.
 *
 * @param path the packed file or the folder
 * @param options what .npy files do not say: vocabulary, classes, grid
 * @returns the dataset
 * @throws {Error} if the layout is none of these or the first file is broken; reading names the
 *   file and the place of all that is broken later
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { writeNpy } from "../../lib/formats/npy.ts";
 * import { openCodes } from "./code_files.ts";
 *
 * const root = await Deno.makeTempDir();
 * await Deno.mkdir(`${root}/7`);
 * const data = new BigInt64Array([1n, 2n, 3n, 4n]);
 * await writeNpy(`${root}/7/0.npy`, { dtype: "i8", shape: [1, 4], data });
 * const dataset = await openCodes(root, { vocabulary: 8 });
 * assertEquals(dataset.grid, [2, 2]);
 * assertEquals((await dataset.read([0])).labels, new Int32Array([7]));
 * await Deno.remove(root, { recursive: true });
 * ```
 */
export async function openCodes(path: string, options: CodeFileOptions = {}): Promise<CodeDataset> {
  if ((await Deno.stat(path)).isFile) return await openPackedCodes(path);
  const { files: loose, folders } = await listCodes(path);
  const codeFolders = folders.filter((name) => LLAMAGEN_CODES.test(name));
  if (codeFolders.length > 1) {
    throw new Error(`openCodes: ${path} holds both ${codeFolders.slice(0, 2).join(" and ")}`);
  }
  if (codeFolders.length === 1) {
    return await openCodeFiles(await listLlamaGen(path, codeFolders[0]), options);
  }
  if (folders.length === 0) {
    throw new Error(
      `openCodes: expected ${path} to hold imagenet*_codes or a folder for each class but found ` +
        (loose.length > 0 ? `${loose.length} loose .npy files` : "neither"),
    );
  }
  return await openCodeFiles(await listClassFolders(path, folders), options);
}

const LLAMAGEN_CODES = /^imagenet\d+_codes$/;

/** An image's code file, and its class or the file that says it. */
interface CodeFile {
  codes: string;
  label: number | string;
}

async function listLlamaGen(root: string, folder: string): Promise<CodeFile[]> {
  const { files } = await listCodes(`${root}/${folder}`);
  if (files.length === 0) throw new Error(`openCodes: ${root}/${folder} holds no .npy file`);
  const labels = folder.replace(/codes$/, "labels");
  return files.map((name) => ({
    codes: `${root}/${folder}/${name}`,
    label: `${root}/${labels}/${name}`,
  }));
}

async function listClassFolders(root: string, folders: string[]): Promise<CodeFile[]> {
  const areNumbers = folders.every((name) => NUMBER.test(name));
  const all: CodeFile[] = [];
  for (const [place, folder] of folders.entries()) {
    const { files } = await listCodes(`${root}/${folder}`);
    if (files.length === 0) throw new Error(`openCodes: ${root}/${folder} holds no .npy file`);
    const label = areNumbers ? Number(folder) : place;
    for (const name of files) all.push({ codes: `${root}/${folder}/${name}`, label });
  }
  return all;
}

const NUMBER = /^\d{1,9}$/;

/** The .npy files and the folders in a folder: by number where names are numbers, else by name. */
async function listCodes(path: string): Promise<{ files: string[]; folders: string[] }> {
  const [files, folders]: string[][] = [[], []];
  for await (const { name, isDirectory, isSymlink } of Deno.readDir(path)) {
    if (name.startsWith(".")) continue;
    if (name.endsWith(".npy")) files.push(name);
    else if (isDirectory || isSymlink) folders.push(name);
  }
  return { files: sortedByNumber(files), folders: sortedByNumber(folders) };
}

function sortedByNumber(names: string[]): string[] {
  const number = (name: string) => {
    const stem = name.replace(/\.npy$/, "");
    return NUMBER.test(stem) ? Number(stem) : Infinity;
  };
  return names.map((name) => ({ name, number: number(name) }))
    .sort((a, b) => a.number < b.number || (a.number === b.number && a.name < b.name) ? -1 : 1)
    .map(({ name }) => name);
}

/** A dataset of listed files; the first one says how many views and tokens all have. */
async function openCodeFiles(
  files: CodeFile[],
  { vocabulary = 16384, classes = 1000, grid: wantedGrid }: CodeFileOptions,
): Promise<CodeDataset> {
  const worst = files.find(({ label }) => typeof label === "number" && label >= classes);
  if (worst) {
    throw new RangeError(
      `${worst.codes}: expected a class folder in 0..${classes - 1} but found ${worst.label}`,
    );
  }
  const { shape: [augmentations, tokens] } = await readCodeFile(files[0].codes);
  const side = Math.sqrt(tokens);
  const grid = wantedGrid ?? [side, side];
  if (!grid.every((size) => Number.isInteger(size) && size > 0) || grid[0] * grid[1] !== tokens) {
    throw new RangeError(
      `openCodes: expected grid to hold the ${tokens} tokens of ${files[0].codes}` +
        ` but found ${wantedGrid?.join("x") ?? "no square"}`,
    );
  }
  const sizes = { count: files.length, augmentations, tokens };
  const readOne = async (index: number, view: number) => {
    const { codes: path, label } = files[index];
    const { shape, data } = await readCodeFile(path);
    if (shape[0] !== augmentations || shape[1] !== tokens) {
      throw new Error(
        `Broken code file ${path}: expected shape [${augmentations}, ${tokens}] as in` +
          ` ${files[0].codes} but found [${shape.join(", ")}]`,
      );
    }
    const values = data.subarray(view * tokens, (view + 1) * tokens);
    const where = (i: number) => `${path} at [${view}, ${i}]`;
    return {
      codes: checkedIntegers(values, vocabulary, "token", where),
      label: typeof label === "number" ? label : await readLabel(label, classes),
    };
  };
  return {
    ...sizes,
    grid,
    vocabulary,
    classes,
    read: (indices, augmentation = 0) => readEach(sizes, indices, augmentation, readOne),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

type Integers = Int32Array | BigInt64Array;

/** The codes of a file, `[augmentations, tokens]` after leading dimensions of 1. */
async function readCodeFile(path: string): Promise<{ shape: number[]; data: Integers }> {
  const { shape: found, data } = await readIntegers(path);
  const shape = found.length === 3 && found[0] === 1 ? found.slice(1) : found;
  if (shape.length !== 2 || shape.includes(0)) {
    throw new Error(
      `Broken code file ${path}: expected shape [augmentations, tokens] or [1, augmentations, tokens]` +
        ` but found [${found.join(", ")}]`,
    );
  }
  return { shape, data };
}

async function readLabel(path: string, classes: number): Promise<number> {
  const { shape, data } = await readIntegers(path);
  if (data.length !== 1) {
    throw new Error(
      `Broken label file ${path}: expected one label but found shape [${shape.join(", ")}]`,
    );
  }
  return checkedIntegers(data, classes, "label", () => path)[0];
}

async function readIntegers(path: string): Promise<{ shape: number[]; data: Integers }> {
  const { dtype, shape, data } = await readNpy(path);
  if (data instanceof Int32Array || data instanceof BigInt64Array) return { shape, data };
  throw new Error(`Broken code file ${path}: expected dtype i8 or i4 but found ${dtype}`);
}
