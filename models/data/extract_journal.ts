// The journal of an extraction: which one it is and how far its part file is good.
import { z } from "npm:zod@4.6.7";

const wholeNumber = z.int().nonnegative();
const journalSchema = z.strictObject({
  layout: z.enum(["packed", "llamagen"]),
  augmentation: z.enum(["center", "flips", "ten-crop"]),
  size: wholeNumber,
  grid: z.array(wholeNumber).length(2),
  vocabulary: wholeNumber,
  listing: z.string(),
  done: wholeNumber,
  broken: z.array(wholeNumber),
});

/** What a journal says. */
export type ExtractionJournal = z.infer<typeof journalSchema>;

/**
 * Reads a journal, if there is one.
 *
 * @param path the file
 * @param total number of images of the extraction
 * @returns the journal, or undefined where there is no file
 * @throws {Error} if the file is broken; the message names it and the field
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { readJournal } from "./extract_journal.ts";
 *
 * assertEquals(await readJournal("none.journal.json", 3), undefined);
 * ```
 */
export async function readJournal(
  path: string,
  total: number,
): Promise<ExtractionJournal | undefined> {
  const broken = (what: string, cause?: unknown) =>
    new Error(`Broken journal ${path}: ${what}`, { cause });
  let json: unknown;
  try {
    json = JSON.parse(await Deno.readTextFile(path));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw broken("expected JSON", error);
  }
  const result = journalSchema.safeParse(json);
  if (!result.success) {
    const { path: field, message } = result.error.issues[0];
    throw broken(`${field.join(".")}: ${message}`);
  }
  const journal = result.data;
  if (journal.done > total) {
    throw broken(`done: expected at most the ${total} images but found ${journal.done}`);
  }
  journal.broken.forEach((index, i) => {
    if (index < journal.done && (i === 0 || index > journal.broken[i - 1])) return;
    throw broken(`broken.${i}: expected rising numbers below ${journal.done} but found ${index}`);
  });
  return journal;
}

/**
 * Checks that a journal is of the extraction that is to be resumed.
 *
 * @param found the journal
 * @param wanted a journal of the extraction
 * @param path the journal's file
 * @throws {Error} if they are of different extractions; the message names the file and the field
 *
 * @example
 * ```ts
 * import { assertThrows } from "@std/assert";
 * import { checkSameExtraction, type ExtractionJournal } from "./extract_journal.ts";
 *
 * const journal: ExtractionJournal = {
 *   layout: "packed", augmentation: "flips", size: 8, grid: [2, 2], vocabulary: 16,
 *   listing: "", done: 5, broken: [],
 * };
 * const check = () => checkSameExtraction(journal, { ...journal, size: 16 }, "x.journal.json");
 * assertThrows(check, Error, "size: expected 16 but found 8");
 * ```
 */
export function checkSameExtraction(
  found: ExtractionJournal,
  wanted: ExtractionJournal,
  path: string,
): void {
  for (
    const field of ["layout", "augmentation", "size", "grid", "vocabulary", "listing"] as const
  ) {
    if (String(found[field]) === String(wanted[field])) continue;
    throw new Error(
      `${path} is of another extraction: ${field}: expected ${wanted[field]} but found ` +
        `${found[field]}; remove it to begin anew`,
    );
  }
}
