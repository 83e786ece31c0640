// Folders of images: one folder a class as in ImageNet, or loose images.

/** The images of a folder with their classes, not yet read. */
export interface ImageFolder {
  /** The folder. */
  root: string;
  /** The images, relative to the folder, with `/` between folders. */
  paths: string[];
  /** The class of each image, `[paths.length]`. */
  labels: Int32Array;
  /** The names of the classes. */
  classes: string[];
}

const IMAGE_NAME = /\.(jpe?g|png)$/i;

/**
 * Lists the images (`.jpg`, `.jpeg`, `.png`, in any case) of a folder. Where it has subfolders, each
 * is a class, and classes are numbered in the order of their names; images may lie at any depth of
 * them. Otherwise the images are loose and of one class, named as the folder. Names are sorted by
 * code units, so that the listing is the same everywhere; those that begin with a dot are ignored.
 *
 * @param root the folder
 * @returns paths, labels and classes
 * @throws {Error} if there is no image, a class has none, or there are both classes and loose images
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { listImages } from "./image_folder.ts";
 *
 * const root = await Deno.makeTempDir();
 * for (const path of ["owl/2.png", "owl/1.JPEG", "cat/1.jpg"]) {
 *   await Deno.mkdir(`${root}/${path.split("/")[0]}`, { recursive: true });
 *   await Deno.writeTextFile(`${root}/${path}`, "");
 * }
 * const { paths, labels, classes } = await listImages(root);
 * assertEquals(paths, ["cat/1.jpg", "owl/1.JPEG", "owl/2.png"]);
 * assertEquals([...labels], [0, 1, 1]);
 * assertEquals(classes, ["cat", "owl"]);
 * await Deno.remove(root, { recursive: true });
 * ```
 */
export async function listImages(root: string): Promise<ImageFolder> {
  const { files: loose, folders } = await readFolder(root);
  if (loose.length > 0 && folders.length > 0) {
    throw new Error(
      `listImages: expected ${root} to hold class folders or loose images` +
        ` but found both (${folders[0]}, ${loose[0]})`,
    );
  }
  if (folders.length === 0) {
    if (loose.length === 0) {
      throw new Error(`listImages: ${root} holds no .jpg, .jpeg or .png image`);
    }
    const name = root.replace(/[/\\]+$/, "").replace(/^.*[/\\]/, "") || root;
    return { root, paths: loose, labels: new Int32Array(loose.length), classes: [name] };
  }
  const paths: string[] = [];
  const labels: number[] = [];
  for (const [label, folder] of folders.entries()) {
    const images = await imagesBelow(root, folder);
    if (images.length === 0) {
      throw new Error(`listImages: the class folder ${root}/${folder} holds no image`);
    }
    for (const path of images) {
      paths.push(path);
      labels.push(label);
    }
  }
  return { root, paths, labels: Int32Array.from(labels), classes: folders };
}

/** The images of a folder and of those within it, relative to the root. */
async function imagesBelow(root: string, folder: string): Promise<string[]> {
  const { files, folders } = await readFolder(`${root}/${folder}`);
  const images = files.map((name) => `${folder}/${name}`);
  for (const inner of folders) {
    for (const path of await imagesBelow(root, `${folder}/${inner}`)) images.push(path);
  }
  return images;
}

/** The sorted names of the images and of the folders in a folder, links followed. */
async function readFolder(path: string): Promise<{ files: string[]; folders: string[] }> {
  const [files, folders]: string[][] = [[], []];
  for await (const entry of Deno.readDir(path)) {
    if (entry.name.startsWith(".")) continue;
    const isFolder = entry.isSymlink
      ? await Deno.stat(`${path}/${entry.name}`).then((info) => info.isDirectory, () => false)
      : entry.isDirectory;
    if (isFolder) folders.push(entry.name);
    else if (IMAGE_NAME.test(entry.name)) files.push(entry.name);
  }
  return { files: files.sort(), folders: folders.sort() };
}
