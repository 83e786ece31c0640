/** Output intervals: how a sequence of N tokens is cut into K sets, drawn from a key or by formula. */
import { foldIn, type Key, permutation, uniform } from "../../lib/random/threefry.ts";

/** The interval schedules that have a name. */
export const SCHEDULE_NAMES = ["random", "mar", "cosine", "arccos", "uniform"] as const;

/** Name of an interval schedule. */
export type ScheduleName = (typeof SCHEDULE_NAMES)[number];

/** The least share of tokens that `mar` masks. */
const MAR_LEAST_RATIO = 0.7;

/**
 * Cuts N tokens into K sets.
 *
 * - `random`: a uniform composition, that is K-1 distinct sorted cut points in 1..N-1; needs a key.
 * - `mar`, only for K = 2: the second set is a share ~ normal(1.0, 0.25) truncated to [0.7, 1.0] of the
 *   tokens, rounded up, with at least one token left to the first (MAR, Li et al. 2024); needs a key.
 * - `cosine`, `arccos`, `uniform`: after step s of K (from 0) a share cos(π/2·r), 2/π·arccos(r) or 1-r of the
 *   tokens stays masked, r = (s+1)/K, rounded down (`uniform`: up), with at least one token for every set.
 *
 * With K = N all sets hold one token, with K = 1 the only set holds all.
 *
 * @param schedule name of the schedule
 * @param count number of tokens N
 * @param sets number of sets K, 1..N
 * @param key the random key, for `random` and `mar`
 * @returns set sizes [K], positive, with sum N
 * @throws TypeError if the schedule is unknown, needs a key that is missing, or is `mar` with K other than 2
 * @throws RangeError if N or K is out of range
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { makeIntervals } from "./intervals.ts";
 *
 * assertEquals(makeIntervals("cosine", 16, 4), Int32Array.of(2, 3, 5, 6));
 * assertEquals(makeIntervals("random", 3, 3, [0, 1]), Int32Array.of(1, 1, 1));
 * ```
 */
export function makeIntervals(
  schedule: ScheduleName,
  count: number,
  sets: number,
  key?: Key,
): Int32Array {
  if (!Number.isInteger(count) || count < 1) {
    throw new RangeError(`makeIntervals: expected count to be a whole number >= 1, found ${count}`);
  }
  if (!Number.isInteger(sets) || sets < 1 || sets > count) {
    throw new RangeError(`makeIntervals: expected sets to be in 1..${count} but found ${sets}`);
  }
  switch (schedule) {
    case "random":
      return fromCuts(randomCuts(count, sets, needKey(schedule, key)), count);
    case "mar": {
      checkMar(sets);
      return fromCuts([marFirstSet(count, drawMaskRatio(needKey(schedule, key)))], count);
    }
    case "cosine":
      return fromMasked(
        count,
        sets,
        (progress) => Math.floor(count * Math.cos(Math.PI / 2 * progress)),
      );
    case "arccos":
      return fromMasked(
        count,
        sets,
        (progress) => Math.floor(count * (2 / Math.PI) * Math.acos(progress)),
      );
    case "uniform":
      return fromMasked(
        count,
        sets,
        (_, index) => count - Math.floor(count * (index + 1) / sets),
      );
    default:
      throw new TypeError(
        `makeIntervals: expected schedule to be one of ${
          SCHEDULE_NAMES.join(", ")
        } but found ${schedule}`,
      );
  }
}

/**
 * Checks a list of set sizes.
 *
 * @param intervals the list
 * @param count number of tokens N
 * @returns the list as Int32Array [K]
 * @throws RangeError if a size is not a positive whole number or the sum is not N
 *
 * @example
 * ```ts
 * import { assertThrows } from "@std/assert";
 * import { checkIntervals } from "./intervals.ts";
 *
 * assertThrows(() => checkIntervals([1, 4], 6), RangeError, "add up to 6 but found 5");
 * ```
 */
export function checkIntervals(intervals: ArrayLike<number>, count: number): Int32Array {
  let sum = 0;
  for (let set = 0; set < intervals.length; set++) {
    const size = intervals[set];
    if (!Number.isInteger(size) || size < 1) {
      throw new RangeError(
        `checkIntervals: expected positive whole numbers but found ${size} at ${set}`,
      );
    }
    sum += size;
  }
  if (sum !== count) {
    throw new RangeError(
      `checkIntervals: expected intervals to add up to ${count} but found ${sum}`,
    );
  }
  return Int32Array.from(intervals);
}

/**
 * The most tokens that any draw of a schedule puts before its last set: the number of token rows that an
 * encoder needs at most.
 *
 * @param schedule name of the schedule
 * @param count number of tokens N
 * @param sets number of sets K, 1..N
 * @returns a number in 0..N-1; N - s_K exactly where the schedule is not random
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { mostKnownTokens } from "./intervals.ts";
 *
 * assertEquals(mostKnownTokens("random", 16, 4), 15);
 * assertEquals(mostKnownTokens("cosine", 16, 4), 10);
 * ```
 */
export function mostKnownTokens(schedule: ScheduleName, count: number, sets: number): number {
  if (schedule === "random") return sets === 1 ? 0 : count - 1;
  if (schedule === "mar") {
    checkMar(sets);
    return marFirstSet(count, MAR_LEAST_RATIO);
  }
  return count - makeIntervals(schedule, count, sets)[sets - 1];
}

function needKey(schedule: ScheduleName, key: Key | undefined): Key {
  if (key === undefined) {
    throw new TypeError(`makeIntervals: expected a key for the schedule ${schedule}`);
  }
  return key;
}

function checkMar(sets: number): void {
  if (sets !== 2) {
    throw new TypeError(`makeIntervals: expected 2 sets for the schedule mar but found ${sets}`);
  }
}

/** K-1 distinct numbers of 1..N-1, sorted. */
function randomCuts(count: number, sets: number, key: Key): Int32Array {
  return permutation(key, count - 1).slice(0, sets - 1).map((cut) => cut + 1).sort();
}

/** Normal(1.0, 0.25) truncated to [0.7, 1.0], by rejection from the uniform: about 3 of 4 are taken. */
function drawMaskRatio(key: Key): number {
  for (let attempt = 0;; attempt++) {
    const [place, height] = uniform(foldIn(key, attempt), 2);
    const ratio = MAR_LEAST_RATIO + (1 - MAR_LEAST_RATIO) * place;
    if (height < Math.exp(-0.5 * ((ratio - 1) / 0.25) ** 2)) return ratio;
  }
}

function marFirstSet(count: number, maskRatio: number): number {
  return Math.max(1, count - Math.ceil(count * maskRatio));
}

function fromCuts(cuts: ArrayLike<number>, count: number): Int32Array {
  return Int32Array.from(
    { length: cuts.length + 1 },
    (_, set) => (cuts[set] ?? count) - (cuts[set - 1] ?? 0),
  );
}

/** Sets from the number of tokens still masked after each step, kept so that no set is empty. */
function fromMasked(
  count: number,
  sets: number,
  maskedAfter: (progress: number, index: number) => number,
): Int32Array {
  let masked = count;
  return Int32Array.from({ length: sets }, (_, index) => {
    const before = masked;
    const wanted = index === sets - 1 ? 0 : maskedAfter((index + 1) / sets, index);
    masked = Math.min(before - 1, Math.max(sets - 1 - index, wanted));
    return before - masked;
  });
}
