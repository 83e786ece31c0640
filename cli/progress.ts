/** Progress on standard error: a bar with loss, rate and time left; where it is no terminal, a line now and then. */
import process from "node:process";
// @ts-types="npm:@types/cli-progress@3.11.6"
import { SingleBar } from "npm:cli-progress@3.12.0";
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
  let clock: Clock | undefined;
  const stop = () => bar?.stop();
  return {
    report(progress) {
      const { stage, step, steps } = progress;
      if (stage !== clock?.stage) {
        stop();
        clock = startClock(progress);
        bar = new SingleBar({
          stream: process.stderr,
          format: (_, __, { facts }) => progressLine(facts, process.stderr.columns ?? 80),
          fps: 8,
          hideCursor: true,
        });
        bar.start(steps, step, { facts: clock.facts(progress) });
      } else bar!.update(step, { facts: clock.facts(progress) });
      if (step >= steps) stop();
    },
    [Symbol.dispose]: stop,
  };
}

/** Milliseconds between lines where there is no terminal. */
const betweenLines = 60_000;

/** A line at the end of each part, and in long ones every minute. */
function lines(): ProgressDisplay {
  let clock: Clock | undefined;
  let shown = 0;
  return {
    report(progress) {
      if (progress.stage !== clock?.stage) {
        clock = startClock(progress);
        shown = performance.now();
      }
      const facts = clock.facts(progress);
      const isOver = progress.step >= progress.steps;
      if (!isOver && performance.now() - shown < betweenLines) return;
      shown = performance.now();
      const { title, count, left, loss, rate } = facts;
      console.error([title, count, left, loss, rate].filter((fact) => fact !== "").join("  "));
    },
    [Symbol.dispose]() {},
  };
}

/** What is said of a part; what is not known is empty. */
export interface Facts {
  readonly title: string;
  /** The share that is done, 0 to 1. */
  readonly share: number;
  readonly count: string;
  readonly left: string;
  readonly loss: string;
  readonly rate: string;
}

/** The most characters of a bar, and the fewest that say something. */
const longestBar = 28, shortestBar = 8;
const titleWidth = 22;

/**
 * A line of progress that fits a terminal: first it does without a part of its bar, then without any, then without the
 * facts of least use.
 */
export function progressLine(
  { title, share, count, left, loss, rate }: Facts,
  columns: number,
): string {
  const facts = [count, left, loss, rate].filter((fact) => fact !== "");
  const text = () => facts.join("  ");
  const room = Math.min(longestBar, columns - 1 - titleWidth - 3 - text().length);
  if (room >= shortestBar) {
    const done = Math.round(share * room);
    const bar = "█".repeat(done) + "░".repeat(room - done);
    return `${title.padEnd(titleWidth)} ${bar}  ${text()}`;
  }
  if (title.length + 2 + text().length < columns) return `${title}  ${text()}`;
  while (facts.length > 1 && text().length >= columns) facts.pop();
  return text();
}

interface Clock {
  readonly stage: Progress["stage"];
  facts(progress: Progress): Facts;
}

/** Milliseconds after which what was before does not count for the rate: such as the time of compiling. */
const recent = 10_000;

/** Begins to measure a part. */
function startClock({ stage, step: start }: Progress): Clock {
  const { title, unit } = parts[stage];
  const began = performance.now();
  let marks = [{ step: start, time: began }, { step: start, time: began }] as const;
  return {
    stage,
    facts(progress) {
      const { step, steps } = progress;
      const time = performance.now();
      if (time - marks[1].time > recent) marks = [marks[1], { step, time }];
      const since = marks[0];
      const perSecond = step > since.step && time > since.time
        ? (step - since.step) / (time - since.time) * 1000
        : 0;
      const isOver = step >= steps;
      const loss = "metrics" in progress ? progress.metrics?.loss : undefined;
      return {
        title,
        share: steps > 0 ? Math.min(1, step / steps) : 1,
        count: `${Math.floor(step)}/${steps}`,
        left: isOver
          ? `took ${duration((time - began) / 1000)}`
          : perSecond > 0
          ? `${duration((steps - step) / perSecond)} left`
          : "",
        loss: loss === undefined ? "" : `loss ${loss.toPrecision(4)}`,
        rate: unit !== "" && perSecond > 0 ? `${perSecond.toPrecision(3)} ${unit}/s` : "",
      };
    },
  };
}
