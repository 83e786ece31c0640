/** The commands and their options; what they do stands in files of their own. */
import { Command, CommanderError, Option } from "npm:commander@15.1.0";
import { isDeviceFault } from "../lib/backends/errors.ts";
import { NonFiniteError } from "../lib/debug/nans.ts";
import { closeDevices } from "../lib/device.ts";
import { type Mpi, openMpi } from "../lib/distributed/mpi.ts";
import { namedConfigs } from "../models/config/named.ts";
import { RunWriteError } from "../models/training/checkpoints.ts";
import { stageNames } from "../models/training/metrics.ts";
import { convert } from "./convert.ts";
import { edit } from "./edit.ts";
import { evaluateCommand } from "./evaluate.ts";
import { extract } from "./extract.ts";
import { info } from "./info.ts";
import { choice, collect, command, grid, number, numbers, whole, withSampling } from "./options.ts";
import { plan } from "./plan.ts";
import { profileCommand } from "./profile.ts";
import { recipes } from "./recipes.ts";
import { sampleCommand } from "./sample.ts";
import { demo, train } from "./train.ts";
import { study } from "./study.ts";
import { UsageError } from "./usage.ts";
import { verify } from "./verify.ts";
import { watch } from "./watch.ts";

/** Commands that all ranks of a job work on; the others are rank 0's alone. */
const shared = ["train", "demo", "sample", "evaluate", "extract"];

/**
 * Runs the command line. Of several processes that `mpirun` or `srun` started, rank 0 is the one that prints; one that
 * fails ends all.
 *
 * @param args The arguments after the program's name.
 * @returns The exit code: 0, 1 where something failed, 2 where it was used wrongly.
 */
export async function main(args: readonly string[]): Promise<number> {
  let mpi: Mpi;
  try {
    mpi = openMpi();
  } catch (error) {
    console.error(`error: ${(error as Error).message}`);
    return 1;
  }
  const isIdle = mpi.rank > 0 && !shared.includes(args[0]!);
  if (mpi.rank > 0) console.log = () => {};
  try {
    return isIdle ? 0 : await runProgram(mpi, args);
  } finally {
    closeDevices();
    mpi.finalize();
  }
}

async function runProgram(mpi: Mpi, args: readonly string[]): Promise<number> {
  let code = 0;
  const program = makeProgram((result) => code = result);
  try {
    await program.parseAsync(args, { from: "user" });
    return code;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
    const isMisuse = error instanceof UsageError;
    // What has happened to the machine or the data, not to the program.
    const says = isMisuse || isDeviceFault(error) || error instanceof RunWriteError ||
      error instanceof NonFiniteError;
    const message = says
      ? `error: ${error.message.replaceAll(/\s*\n\s*/g, " ")}`
      : Deno.inspect(error);
    if (mpi.size > 1) mpi.abort(message, isMisuse ? 2 : 1);
    console.error(says ? message : error);
    return isMisuse ? 2 : 1;
  }
}

function makeProgram(finish: (code: number) => void): Command {
  const program = new Command("tessera")
    .description("Set AutoRegressive image models: train, sample, look inside")
    .exitOverride()
    .configureOutput({
      ...(openMpi().rank > 0 && { writeOut() {}, writeErr() {} }),
      outputError: (text, write) => write(`${text.trim().replaceAll(/\s*\n\s*/g, " ")}\n`),
    });

  command(program, "train", "Train a tokenizer and a model on its codes")
    .option("--config <file|name>", `a JSON file, or ${Object.keys(namedConfigs).join(", ")}`)
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

  command(program, "plan", "Print what a training will take: parameters, arithmetic, memory")
    .argument("<config>", `a JSON file, or ${Object.keys(namedConfigs).join(", ")}`)
    .option("--set <key=value>", "set a field by its dotted path; may be repeated", collect, [])
    .action(plan);

  command(program, "profile", "Print the kernels of a training step with ms, GB/s and GFLOP/s")
    .argument("<config>", `a JSON file, or ${Object.keys(namedConfigs).join(" or ")}`)
    .option("--set <key=value>", "set a field by its dotted path; may be repeated", collect, [])
    .addOption(choice("--stage <name>", "which training", stageNames).default("model"))
    .option("--steps <number>", "steps that are timed", whole(1), 3)
    .action(profileCommand);

  withSampling(command(program, "sample", "Sample images from a run"))
    .argument("<run>", "folder of a trained run")
    .requiredOption("--out <file>", "PNG file to write")
    .option("--class <numbers>", "classes, by commas (default: all, a row each)", numbers)
    .option("--count <number>", "images of each class", whole(1))
    .action(sampleCommand);

  withSampling(command(program, "edit", "Draw parts of an image anew with a run"))
    .argument("<run>", "folder of a trained run")
    .requiredOption(
      "--image <file>",
      "PNG file; where it is smaller than the run's, its surroundings are drawn",
    )
    .option("--mask <file>", "PNG file of the image's size, white where it is to be replaced")
    .requiredOption("--out <file>", "PNG file to write")
    .option("--class <number>", "class of the result (default: none)", whole(0))
    .option("--count <number>", "number of results", whole(1))
    .option(
      "--place <left,top>",
      "pixels in front of a smaller image (default: in the middle)",
      numbers,
    )
    .action(edit);

  command(program, "recipes", "List orders, schedules and presets, or draw a recipe")
    .option("--draw <recipe>", "draw this recipe, or the order of this name")
    .addOption(
      new Option("--grid <rows>x<columns>", "grid of tokens").argParser(grid)
        .default({ height: 16, width: 16 }, "16x16"),
    )
    .option("--out <file>", "PNG file to write")
    .option("--seed <number>", "seed of random orders and sizes", whole(0), 0)
    .action(recipes);

  command(program, "convert", "Convert LlamaGen's checkpoints to .safetensors")
    .argument("<from>", "a .pt or .safetensors file of a tokenizer or a GPT")
    .argument("<to>", "the .safetensors file to write")
    .option("--grid <rows>x<columns>", "token grid of a GPT (default: 16x16)", grid)
    .option("--part <name>", "key of the weights in a checkpoint, such as ema")
    .action(convert);

  command(program, "extract", "Encode a folder of images; goes on after an interruption")
    .argument("<folder>", "images, or folders of images, one for each class")
    .requiredOption("--tokenizer <run|file>", "a run, or a file of LlamaGen's VQ weights")
    .requiredOption("--out <path>", "file to write; with the layout llamagen, a folder")
    .option("--size <pixels>", "sides that images are cropped to (default: the run's)", whole(1))
    .addOption(
      choice("--augmentation <name>", "views of an image", ["center", "flips", "ten-crop"])
        .default("flips"),
    )
    .addOption(
      choice("--layout <name>", "one file, or .npy files of each image", ["packed", "llamagen"])
        .default("packed"),
    )
    .option("--batch <number>", "views that are encoded at once", whole(1), 32)
    .option("--workers <number>", "workers that decode (default: by the machine)", whole(1))
    .option("--strict", "stop at a broken image instead of leaving it out")
    .action(extract);

  withSampling(
    command(program, "evaluate", "FID, sFID, Inception Score, precision and recall of samples"),
  )
    .argument("<run|folder|npz>", "a run that is sampled from, images, or a tokenizer")
    .option("--reference <run|folder|npz>", "what to compare with (default: the run's data)")
    .option(
      "--features <file>",
      "weights of Inception or a classifier (default: one that is trained on the run's data and kept with it, classifier.safetensors)",
    )
    .option("--count <number>", "images that are sampled from a run", whole(2), 1000)
    .option(
      "--reconstruction",
      "rFID, PSNR and SSIM of what the tokenizer of a run, or in a file of LlamaGen's, gives back of --count images",
    )
    .option("--save <npz>", "also write a run's samples as ADM's evaluation reads them")
    .option("--size <pixels>", "sides that images of folders are cropped to", whole(1))
    .option("--batch <number>", "images in a batch", whole(1))
    .option("--json", "print JSON")
    .action(evaluateCommand);

  program.command("watch")
    .description("Serve a page that follows a run while it trains: curves, samples, configuration")
    .argument("<run>", "folder of a run")
    .option("--port <number>", "port on 127.0.0.1; 0 for a free one", whole(0), 8080)
    .action(watch);

  command(program, "info", "Print what a run or a file of weights holds")
    .argument("<path>", "folder of a run, or a .safetensors file")
    .action(info);

  command(program, "verify", "Compare fixtures with what a device computes")
    .argument("<folder>", "folder of fixtures")
    .action(async (folder) => finish(await verify(folder) ? 0 : 1));

  command(
    program,
    "study",
    "Train the paper's ablations on small images, and report them beside its findings",
  )
    .option("--config <name>", "configuration of data, tokenizer and model", "study")
    .option("--out <folder>", "folder for results, weights and report.html", "runs/study")
    .option("--minutes <number>", "time for all of it, which decides the steps", number, 60)
    .option("--steps <number>", "steps of each training, instead", whole(1))
    .option("--recipes <names>", "only these recipes, by commas", (text: string) => text.split(","))
    .option("--samples <number>", "samples of each measurement", whole(2), 1000)
    .option("--set <key=value>", "set a field by its dotted path; may be repeated", collect, [])
    .action(study);

  command(program, "demo", "Train on MNIST and sample from the result, in a few minutes")
    .option("--out <run>", "folder for checkpoints, metrics and samples", "runs/mnist")
    .option("--steps <number>", "steps of the model's training", whole(1))
    .option("--seed <number>", "seed of all that is random", whole(0))
    .option("--set <key=value>", "set a field by its dotted path; may be repeated", collect, [])
    .action(demo);

  return program;
}
