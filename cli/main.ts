/** The commands and their options; what they do stands in files of their own. */
import { Command, CommanderError, InvalidArgumentError, Option } from "npm:commander@15.1.0";
import { closeDevices, type DeviceChoice, openDevice } from "../lib/device.ts";
import { namedConfigs } from "../models/config/named.ts";
import { GUIDANCE_SCHEDULES } from "../models/fmt/schedules.ts";
import { SCHEDULE_NAMES } from "../models/sar/intervals.ts";
import { ORDER_NAMES } from "../models/sar/order.ts";
import { info } from "./info.ts";
import { sampleCommand } from "./sample.ts";
import { demo, train } from "./train.ts";
import { checked, UsageError } from "./usage.ts";
import { verify } from "./verify.ts";

/**
 * Runs the command line.
 *
 * @param args The arguments after the program's name.
 * @returns The exit code: 0, 1 where something failed, 2 where it was used wrongly.
 */
export async function main(args: readonly string[]): Promise<number> {
  let code = 0;
  const program = makeProgram((result) => code = result);
  try {
    await program.parseAsync(args, { from: "user" });
    return code;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
    if (error instanceof UsageError) {
      console.error(`error: ${error.message.replaceAll(/\s*\n\s*/g, " ")}`);
      return 2;
    }
    console.error(error);
    return 1;
  } finally {
    closeDevices();
  }
}

function makeProgram(finish: (code: number) => void): Command {
  const program = new Command("tessera")
    .description("Set AutoRegressive image models: train, sample, look inside")
    .exitOverride()
    .configureOutput({
      outputError: (text, write) => write(`${text.trim().replaceAll(/\s*\n\s*/g, " ")}\n`),
    });

  command(program, "train", "Train a tokenizer and a model on its codes")
    .option("--config <file|name>", `a JSON file, or ${Object.keys(namedConfigs).join(" or ")}`)
    .option("--out <run>", "folder for checkpoints, metrics and samples")
    .option("--steps <number>", "steps of the model's training", whole(1))
    .option("--seed <number>", "seed of all that is random", whole(0))
    .option("--set <key=value>", "set a field by its dotted path; may be repeated", collect, [])
    .option("--resume", "continue from the last checkpoint in --out")
    .addOption(
      new Option("--print [what]", "print the whole configuration, or the help of its fields")
        .choices(["json", "help"]).preset("json"),
    )
    .action(train);

  command(program, "sample", "Sample images from a run")
    .argument("<run>", "folder of a trained run")
    .requiredOption("--out <file>", "PNG file to write")
    .option("--class <numbers>", "classes, by commas (default: all, a row each)", numbers)
    .option("--count <number>", "images of each class", whole(1))
    .option("--steps <number>", "number of sets, one step each", whole(1))
    .addOption(choice("--order <name>", "order of the tokens", ORDER_NAMES))
    .addOption(
      choice("--schedule <name>", "how they are cut into sets", [
        ...SCHEDULE_NAMES.filter((name) => name !== "mar"),
        "next-scale",
      ]),
    )
    .option("--guidance <scale>", "classifier-free guidance; 1 for none", number)
    .addOption(choice("--guidance-schedule <name>", "how it changes", GUIDANCE_SCHEDULES))
    .option("--guidance-interval <first,last>", "sets that the schedule interval guides", numbers)
    .option("--temperature <number>", "logits are divided by it", number)
    .option("--final-temperature <number>", "temperature of the last set", number)
    .option("--top-k <number>", "most likely tokens that may be drawn; 0 for all", whole(0))
    .option("--top-p <share>", "probability that they reach together; 1 for all", number)
    .addOption(choice("--attention <kind>", "which attention is full", [
      "masked",
      "full-decoder",
      "full",
    ]))
    .addOption(choice("--decoding <name>", "which tokens a set holds", ["order", "confidence"]))
    .option("--seed <number>", "the same seed gives the same images", whole(0))
    .action(sampleCommand);

  command(program, "info", "Print what a run or a file of weights holds")
    .argument("<path>", "folder of a run, or a .safetensors file")
    .action(info);

  command(program, "verify", "Compare fixtures with what a device computes")
    .argument("<folder>", "folder of fixtures")
    .action(async (folder) => finish(await verify(folder) ? 0 : 1));

  command(program, "demo", "Train on MNIST and sample from the result, in a few minutes")
    .option("--out <run>", "folder for checkpoints, metrics and samples", "runs/mnist")
    .option("--steps <number>", "steps of the model's training", whole(1))
    .option("--seed <number>", "seed of all that is random", whole(0))
    .option("--set <key=value>", "set a field by its dotted path; may be repeated", collect, [])
    .action(demo);

  return program;
}

/** A command that runs on a device. */
function command(program: Command, name: string, description: string): Command {
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

function choice(flags: string, description: string, values: readonly string[]): Option {
  return new Option(flags, description).choices(values);
}

function number(text: string): number {
  const value = Number(text);
  if (text.trim() !== "" && Number.isFinite(value)) return value;
  throw new InvalidArgumentError("Expected a number.");
}

function whole(least: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() !== "" && Number.isSafeInteger(value) && value >= least) return value;
    throw new InvalidArgumentError(`Expected a whole number of at least ${least}.`);
  };
}

function numbers(text: string): number[] {
  return text.split(",").map(whole(0));
}

function collect(text: string, before: readonly string[]): string[] {
  return [...before, text];
}
