/** Checks the current device against folders of fixtures, whose numbers come from another implementation. */
import { readSafetensors } from "../lib/formats/safetensors.ts";
import { rotaryTable } from "../ops/rotary.ts";
import { compare, compareTensor, type Comparison, tolerances } from "./comparison.ts";
import { readFmtFixture } from "./fmt/fixture.ts";
import { verifySampling } from "./fmt/verify_sample.ts";
import { mask, verifyTraining } from "./fmt/verify_train.ts";
import { findLlamagenVerifier } from "./llamagen/verify.ts";
import { visibleCounts } from "./sar/masks.ts";

export type { Comparison };

/** A fixture that was compared. */
export interface VerifiedFixture {
  /** Its path below the folder that was asked for. */
  readonly name: string;
  /** What was compared. */
  readonly rows: readonly Comparison[];
}

/** What a folder of fixtures holds, by path below it. */
interface Found {
  readonly name: string;
  readonly verify: () => Promise<Comparison[]>;
}

/**
 * Compares a folder of fixtures of the Fully Masked Transformer and of LlamaGen's models with what the current device
 * computes: one case (a folder with `config.json`), or a folder in which cases, `masks.json` and
 * `rope_tables.safetensors` lie at any depth.
 *
 * @param folder Path of the folder.
 * @param onFixture Called with each fixture when it is done.
 * @returns Every fixture with its comparisons, in order of path.
 * @throws {RangeError} If there is no fixture in the folder; {Error} if a file of one is missing or broken.
 */
export async function verifyFixtures(
  folder: string,
  onFixture: (fixture: VerifiedFixture) => void = () => {},
): Promise<VerifiedFixture[]> {
  const verified: VerifiedFixture[] = [];
  for (const { name, verify } of await findFixtures(folder, "")) {
    const fixture = { name, rows: await verify() };
    verified.push(fixture);
    onFixture(fixture);
  }
  if (verified.length === 0) {
    throw new RangeError(
      `verifyFixtures: expected ${folder} to hold a fixture (a config.json of a case) but found none`,
    );
  }
  return verified;
}

/**
 * Compares one fixture folder of the Fully Masked Transformer with what the current device computes: of a training case
 * targets, masks, logits, losses, hidden states and, where stored, every gradient; of a sampling case tokens and
 * the logits of every step.
 *
 * @param folder Path of the folder.
 * @returns A row for each quantity.
 * @throws {Error} If a file is missing or broken.
 */
export async function verifyFixture(folder: string): Promise<Comparison[]> {
  const fixture = await readFmtFixture(folder);
  return await (fixture.kind === "train" ? verifyTraining(fixture) : verifySampling(fixture));
}

async function findFixtures(folder: string, name: string): Promise<Found[]> {
  const entries = (await Array.fromAsync(Deno.readDir(folder)))
    .sort((a, b) => a.name < b.name ? -1 : 1);
  const names = new Set(entries.map((entry) => entry.name));
  if (names.has("config.json")) {
    const config = JSON.parse(await Deno.readTextFile(`${folder}/config.json`));
    const isCase = (config.kind === "train" || config.kind === "sample") && config.model?.n_enc;
    const verify = isCase ? verifyFixture : findLlamagenVerifier(config);
    return verify ? [{ name: name || folder, verify: () => verify(folder) }] : [];
  }
  const found: Found[] = [];
  for (const entry of entries) {
    const path = `${folder}/${entry.name}`;
    const below = name ? `${name}/${entry.name}` : entry.name;
    if (entry.isDirectory) found.push(...await findFixtures(path, below));
    if (entry.name === "masks.json") found.push({ name: below, verify: () => verifyMasks(path) });
    if (entry.name === "rope_tables.safetensors") {
      found.push({ name: below, verify: () => verifyRotaryTables(path) });
    }
  }
  return found;
}

/** Checks visible counts against masks written out as rows of 0 and 1. */
async function verifyMasks(path: string): Promise<Comparison[]> {
  type Masks = { intervals: number[]; m_e: string[]; m_ds: string[]; m_dc: string[] };
  const cases = JSON.parse(await Deno.readTextFile(path)) as Masks[];
  return cases.flatMap(({ intervals, m_e, m_ds, m_dc }) => {
    const { encoder, decoder, cross } = visibleCounts(intervals);
    const check = (name: string, visible: Int32Array, rows: string[]) => {
      const data = Uint8Array.from(rows.join(""), Number);
      const stored = { shape: [rows.length, rows[0]!.length], data };
      return compare(`${intervals.join(",")} ${name}`, mask(visible, stored.shape[1]!), stored, 0);
    };
    return [
      check("m_e", encoder, m_e),
      check("m_ds", decoder, m_ds),
      check("m_dc", cross, m_dc),
    ];
  });
}

/** Checks rotary tables, which are named HEIGHTxWIDTH_hdFEATURES_baseBASE. */
async function verifyRotaryTables(path: string): Promise<Comparison[]> {
  const rows: Comparison[] = [];
  for (const [name, stored] of Object.entries((await readSafetensors(path)).tensors)) {
    const parts = /^(\d+)x(\d+)_hd(\d+)_base([\d.]+)\.(cos|sin)$/.exec(name);
    if (!parts) throw new Error(`verifyFixtures: expected a rotary table but found ${name}`);
    const [height, width, features, base] = parts.slice(1, 5).map(Number) as [
      number,
      number,
      number,
      number,
    ];
    const table = rotaryTable(height, width, features, base)[parts[5] as "cos" | "sin"];
    rows.push(await compareTensor(name, table, stored, tolerances.table));
  }
  return rows;
}
