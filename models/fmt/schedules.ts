/** How guidance and temperature change from set to set. */

/** The schedules of classifier-free guidance. */
export const GUIDANCE_SCHEDULES = ["constant", "linear", "cosine", "interval", "off"] as const;

/** How much guidance and what temperature each set gets. */
export interface ScheduleOptions {
  /** Scale of classifier-free guidance; 1 (the default) is none. */
  readonly guidance?: number;
  /**
   * - `constant` (the default): `guidance` for every set.
   * - `linear` (MAR, RandAR), `cosine`: from 1 up to `guidance` as tokens become known.
   * - `interval` (LlamaGen): `guidance` for the sets of `guidanceInterval`, 1 for the others.
   * - `off`: none, whatever `guidance` is.
   */
  readonly guidanceSchedule?: (typeof GUIDANCE_SCHEDULES)[number];
  /** Numbers of the first and the last set that the schedule `interval` guides, from 1 (default all). */
  readonly guidanceInterval?: readonly [first: number, last: number];
  /** The logits of the first set are divided by it (default 1). */
  readonly temperature?: number;
  /** The temperature of the last set, reached in equal steps (default `temperature`). */
  readonly finalTemperature?: number;
}

/** A set among the others. */
export interface SetPlace {
  /** Its number, from 1. */
  readonly set: number;
  /** Number of sets K. */
  readonly sets: number;
  /** The share of the tokens that are known after it. */
  readonly known: number;
}

/** Whether any set may be guided, for which the batch is doubled. */
export function isGuided({ guidance = 1, guidanceSchedule }: ScheduleOptions): boolean {
  return guidance !== 1 && guidanceSchedule !== "off";
}

/**
 * The scale of guidance for a set.
 *
 * @param options The schedule.
 * @param place The set.
 * @returns The scale; 1 for none.
 *
 * @example
 * ```ts
 * import { assertAlmostEquals, assertEquals } from "@std/assert";
 * import { guidanceOf } from "./schedules.ts";
 *
 * const place = { set: 2, sets: 4, known: 0.5 };
 * assertEquals(guidanceOf({ guidance: 3, guidanceSchedule: "linear" }, place), 2);
 * assertAlmostEquals(guidanceOf({ guidance: 3, guidanceSchedule: "cosine" }, place), 2);
 * const interval = { guidance: 3, guidanceSchedule: "interval", guidanceInterval: [3, 4] } as const;
 * assertEquals(guidanceOf(interval, place), 1);
 * ```
 */
export function guidanceOf(options: ScheduleOptions, { set, sets, known }: SetPlace): number {
  const { guidance = 1, guidanceSchedule = "constant", guidanceInterval = [1, sets] } = options;
  const shares = {
    constant: () => 1,
    linear: () => known,
    cosine: () => (1 - Math.cos(Math.PI * known)) / 2,
    interval: () => set >= guidanceInterval[0] && set <= guidanceInterval[1] ? 1 : 0,
    off: () => 0,
  };
  return 1 + (guidance - 1) * shares[guidanceSchedule]();
}

/**
 * The temperature of a set.
 *
 * @param options The schedule.
 * @param place The set.
 * @returns The number that logits are divided by, above 0: a temperature of 0 becomes 1e-5.
 * @throws {RangeError} If a temperature is negative.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { temperatureOf } from "./schedules.ts";
 *
 * const options = { temperature: 1, finalTemperature: 0.5 };
 * const temperatures = [1, 2, 3].map((set) => temperatureOf(options, { set, sets: 3 }));
 * assertEquals(temperatures, [1, 0.75, 0.5]);
 * ```
 */
export function temperatureOf(
  options: ScheduleOptions,
  { set, sets }: Pick<SetPlace, "set" | "sets">,
): number {
  const { temperature = 1, finalTemperature = temperature } = options;
  for (const [name, value] of Object.entries({ temperature, finalTemperature })) {
    if (!(value >= 0)) {
      throw new RangeError(`sample: expected ${name} to be at least 0 but found ${value}`);
    }
  }
  const share = sets === 1 ? 0 : (set - 1) / (sets - 1);
  return Math.max(temperature + (finalTemperature - temperature) * share, 1e-5);
}
