/** Options that commands share, and how their values are read. */
import { type Command, InvalidArgumentError, Option } from "npm:commander@15.1.0";
import { type DeviceChoice, openDevice } from "../lib/device.ts";
import { GUIDANCE_SCHEDULES } from "../models/fmt/schedules.ts";
import { SCHEDULE_NAMES } from "../models/sar/intervals.ts";
import { type Grid, ORDER_NAMES } from "../models/sar/order.ts";
import { checked } from "./usage.ts";
import type { WhichCheckpoint } from "../models/training/checkpoints.ts";

/** A command that runs on a device. */
export function command(program: Command, name: string, description: string): Command {
  return program.command(name)
    .description(description)
    .addOption(
      choice("--device <name>", "where to compute (default: auto, or TESSERA_DEVICE)", [
        "auto",
        "webgpu",
        "wasm",
        "reference",
      ]),
    )
    .hook("preAction", async (_, chosen) => {
      await checked(() => openDevice(chosen.opts().device as DeviceChoice | undefined));
    });
}

/** Adds the options of sampling, which are the fields of `sampling` in the configuration of a run. */
export function withSampling(command: Command): Command {
  const schedules = [...SCHEDULE_NAMES.filter((name) => name !== "mar"), "next-scale"];
  const attention = ["masked", "full-decoder", "full"];
  return command
    .option("--steps <number>", "number of sets, one step each", whole(1))
    .addOption(choice("--order <name>", "order of the tokens", ORDER_NAMES))
    .addOption(choice("--schedule <name>", "how they are cut into sets", schedules))
    .option("--guidance <scale>", "classifier-free guidance; 1 for none", number)
    .addOption(choice("--guidance-schedule <name>", "how it changes", GUIDANCE_SCHEDULES))
    .option("--guidance-interval <first,last>", "sets that the schedule interval guides", numbers)
    .option("--temperature <number>", "logits are divided by it", number)
    .option("--final-temperature <number>", "temperature of the last set", number)
    .option("--top-k <number>", "most likely tokens that may be drawn; 0 for all", whole(0))
    .option("--top-p <share>", "probability that they reach together; 1 for all", number)
    .addOption(choice("--attention <kind>", "which attention is full", attention))
    .addOption(choice("--decoding <name>", "which tokens a set holds", ["order", "confidence"]))
    .option("--seed <number>", "the same seed gives the same images", whole(0))
    .option(
      "--checkpoint <last|best|step>",
      "checkpoint of the run's model (default: last)",
      which,
    );
}

/** Reads which checkpoint is meant. */
function which(text: string): WhichCheckpoint {
  if (text === "last" || text === "best") return text;
  if (/^\d+$/.test(text)) return Number(text);
  throw new InvalidArgumentError("Expected last, best or the step of a checkpoint.");
}

/** An option with one of some values. */
export function choice(flags: string, description: string, values: readonly string[]): Option {
  return new Option(flags, description).choices(values);
}

/** Reads a number. */
export function number(text: string): number {
  const value = Number(text);
  if (text.trim() !== "" && Number.isFinite(value)) return value;
  throw new InvalidArgumentError("Expected a number.");
}

/** Reads a whole number. */
export function whole(least: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() !== "" && Number.isSafeInteger(value) && value >= least) return value;
    throw new InvalidArgumentError(`Expected a whole number of at least ${least}.`);
  };
}

/** Reads whole numbers with commas between them. */
export function numbers(text: string): number[] {
  return text.split(",").map(whole(0));
}

/** Reads the size of a grid, such as 16x16: rows, then columns. */
export function grid(text: string): Grid {
  const [, height, width] = /^(\d+)[x×](\d+)$/.exec(text) ?? [];
  if (Number(height) >= 1 && Number(width) >= 1) {
    return { height: Number(height), width: Number(width) };
  }
  throw new InvalidArgumentError("Expected rows and columns such as 16x16.");
}

/** Gathers the values of an option that may be repeated. */
export function collect(text: string, before: readonly string[]): string[] {
  return [...before, text];
}
