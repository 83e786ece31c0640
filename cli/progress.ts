/** Progress on standard error: a bar with rate and time left, or now and then a line where it is no terminal. */
import process from "node:process";
// @ts-types="npm:@types/cli-progress@3.11.6"
import { Format, SingleBar } from "npm:cli-progress@3.12.0";
import { openMpi } from "../lib/distributed/mpi.ts";
import { duration } from "../models/reports/duration.ts";
import type { RunProgress } from "../models/training/run.ts";

/** How far something is: a part of a run, or of another command. */
export type Progress = RunProgress | {
  readonly stage:
    | "extraction"
    | "classifier"
    | "reference features"
    | "sample features"
    | "neighbors"
    | "distances";
  readonly step: number;
  readonly steps: number;
};

/** What each part is called, and what its steps are. */
const parts: Record<Progress["stage"], { title: string; unit: string }> = {
  data: { title: "Loading images", unit: "" },
  tokenizer: { title: "Training the tokenizer", unit: "steps" },
  codes: { title: "Encoding images", unit: "batches" },
  model: { title: "Training the model", unit: "steps" },
  samples: { title: "Sampling", unit: "steps" },
  extraction: { title: "Extracting codes", unit: "images" },
  classifier: { title: "Training a classifier", unit: "steps" },
  "reference features": { title: "Reference features", unit: "images" },
  "sample features": { title: "Sample features", unit: "images" },
  neighbors: { title: "Precision and recall", unit: "" },
  distances: { title: "Distances", unit: "" },
};

/** Where progress goes. */
export interface ProgressDisplay extends Disposable {
  report(progress: Progress): void;
}

/** Shows progress until the end of the scope that holds it; of several ranks, that of the first. */
export function showProgress(): ProgressDisplay {
  if (openMpi().rank > 0) return { report() {}, [Symbol.dispose]() {} };
  return process.stderr.isTTY ? bars() : lines();
}

function bars(): ProgressDisplay {
  let bar: SingleBar | undefined;
  let part: { stage: Progress["stage"]; start: number; time: number } | undefined;
  const stop = () => bar?.stop();
  return {
    report(progress) {
      const { stage, step, steps } = progress;
      if (stage !== part?.stage) {
        stop();
        part = { stage, start: step, time: performance.now() };
        bar = new SingleBar({
          stream: process.stderr,
          format: "{title} {bar} {value}/{total}  {rate}  {left}  {loss}",
          formatBar: Format.BarFormat,
          barCompleteChar: "█",
          barIncompleteChar: "░",
          barsize: 28,
          fps: 8,
          hideCursor: true,
        });
        bar.start(steps, step, payload(progress, part));
      } else bar!.update(Math.floor(step), payload(progress, part));
      if (step >= steps) stop();
    },
    [Symbol.dispose]: stop,
  };
}

function lines(): ProgressDisplay {
  let part: { stage: Progress["stage"]; start: number; time: number; shown: number } | undefined;
  return {
    report(progress) {
      const { stage, step, steps } = progress;
      const time = performance.now();
      if (stage !== part?.stage) part = { stage, start: step, time, shown: step };
      else if (step === part.shown || (step < steps && step - part.shown < steps / 10)) return;
      else part.shown = step;
      const { title, rate, left, loss } = payload(progress, part);
      const text = [title.trim(), `${Math.floor(step)}/${steps}`, rate, left, loss];
      console.error(text.filter((part) => part !== "").join("  "));
    },
    [Symbol.dispose]() {},
  };
}

function payload(progress: Progress, { start, time }: { start: number; time: number }) {
  const { stage, step, steps } = progress;
  const { title, unit } = parts[stage];
  const seconds = (performance.now() - time) / 1000;
  const perSecond = step > start && seconds > 0 ? (step - start) / seconds : 0;
  const loss = "metrics" in progress ? progress.metrics?.loss : undefined;
  return {
    title: title.padEnd(22),
    rate: unit && perSecond ? `${perSecond.toPrecision(3)} ${unit}/s` : "",
    left: step >= steps
      ? `took ${duration(seconds)}`
      : perSecond
      ? `${duration((steps - step) / perSecond)} left`
      : "",
    loss: loss === undefined ? "" : `loss ${loss.toFixed(3)}`,
  };
}
