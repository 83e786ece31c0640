/** The study as a page: findings beside the paper's, charts, all figures, and samples. */
import { drawChart, type Series } from "../reports/chart.ts";
import { type Page, type Part, type Section, writePage } from "../reports/page.ts";
import { COMPARED_ORDERS, experiments, OTHER_ORDERS, samplingName } from "./experiments.ts";
import { judge } from "./findings.ts";
import type { Measure, Study } from "./record.ts";

/** What stands in a report beside the results. */
export interface ReportOptions {
  /** The command that made it. */
  readonly command: string;
  /** The device it ran on. */
  readonly device: string;
  /** The PNG file of a recipe's samples: a row for each sampling, a column for each class. */
  samples(recipe: string): Promise<Uint8Array | undefined>;
}

/**
 * Writes the report of a study, finished or not.
 *
 * @param study The study.
 * @param options See {@link ReportOptions}.
 * @returns The content of an `.html` file that needs no other.
 */
export async function studyReport(study: Study, options: ReportOptions): Promise<string> {
  const { settings, steps, minutes, tokens, results, data } = study;
  const found = judge(results, tokens);
  const reproduced = found.filter(({ isReproduced }) => isReproduced).length;
  const page: Page = {
    title: "Set AutoRegressive modeling: the paper's ablations in small",
    subtitle: `${results.length} recipes, ${steps} steps each, on ${settings.config}; ` +
      `${reproduced} of ${found.length} findings reproduced here`,
    sections: [
      {
        title: "The paper's findings",
        parts: [
          {
            kind: "table",
            head: ["finding", "the paper (ImageNet 256×256)", "here", "reproduced here"],
            rows: found.map(({ statement, paper, here, isReproduced }) => [
              statement,
              paper,
              here,
              isReproduced ? "yes" : "no",
            ]),
          },
          {
            kind: "text",
            text:
              "FID here is the Fréchet distance between features of a small classifier trained on the same " +
              "data: comparable within this page, not with the paper's figures. Images of the data itself have " +
              `${show(data.fid)}; the classifier sees the right class in ${
                percent(data.accuracy)
              } of them. ` +
              "One seed, one small model: differences of a few percent mean nothing.",
          },
        ],
      },
      { title: "Charts", parts: [{ kind: "charts", charts: charts(study) }] },
      figures(study),
      await pictures(study, options),
      {
        title: "How it was made",
        parts: [
          { kind: "code", text: options.command },
          {
            kind: "table",
            rows: [
              ["device", options.device],
              ["minutes", minutes.toFixed(0)],
              ["steps of each training", String(steps)],
              ["samples of each measurement", String(settings.samples)],
              ["tokens of an image", String(tokens)],
            ],
          },
        ],
      },
    ],
  };
  return writePage(page);
}

/** Charts of what was measured so far. */
function charts({ tokens, results }: Study): string[] {
  const measured = (recipe: string, sampling: string): number =>
    results.find((each) => each.recipe === recipe)?.measures[sampling]?.fid ?? NaN;
  const overSteps = (name: string, recipe: string, order: string): Series => ({
    name,
    points: [4, 8, 16, 32, tokens].map((count) =>
      [count, measured(recipe, `${order}-${count}-cosine`)] as const
    ).filter(([, fid]) => Number.isFinite(fid)),
  });
  const x = { label: "steps of sampling", log: true };
  const y = { label: "FID", log: true };
  const few = Math.min(16, tokens);
  const sets = [
    "random-2-random+loss-all",
    ...[4, 8, 16, 32].map((k) => `random-${k}-random`),
    "random-N-cosine",
  ]
    .filter((recipe) => results.some((each) => each.recipe === recipe));
  const mar = [
    "random-2-mar",
    "random-2-mar+full-decoder",
    "random-2-mar+loss-all",
    "random-2-random+loss-all",
  ];
  const attention = [...mar.slice(2), ...sets.slice(1, -1)];
  return [
    drawChart({
      kind: "line",
      title: "Orders, trained one token a step",
      x,
      y,
      series: COMPARED_ORDERS.map((order) => overSteps(order, `${order}-N-cosine`, order)),
    }),
    drawChart({
      kind: "line",
      title: "Number of training sets, random order",
      x,
      y,
      colors: "ordered",
      series: sets.map((recipe) => overSteps(shortName(recipe), recipe, "random")),
    }),
    drawChart({
      kind: "line",
      title: "16 training sets: order and schedule",
      x,
      y,
      series: [
        overSteps("random", "random-16-random", "random"),
        overSteps("random, cosine sets", "random-16-cosine", "random"),
        overSteps("fixed-random", "fixed-random-16-random", "fixed-random"),
        overSteps("raster", "raster-16-random", "raster"),
      ],
    }),
    drawChart({
      kind: "bars",
      title: `Sampled in another order, ${few} steps`,
      x: { label: "order of sampling" },
      y: { label: "FID" },
      groups: [...OTHER_ORDERS],
      series: [
        ["raster, N sets", "raster-N-cosine"],
        ["fixed-random, 16", "fixed-random-16-random"],
        ["random, 16", "random-16-random"],
      ].map(([name, recipe]) => ({
        name: name!,
        values: OTHER_ORDERS.map((order) => measured(recipe!, `${order}-${few}-cosine`)),
      })),
    }),
    drawChart({
      kind: "line",
      title: "The MAR end",
      x,
      y,
      series: mar.map((recipe) => overSteps(shortName(recipe), recipe, "random")),
    }),
    drawChart({
      kind: "bars",
      title: `Full attention at sampling, ${few} steps`,
      x: { label: "training" },
      y: { label: "FID" },
      groups: attention.map(shortName),
      series: ["masked", "full"].map((name) => ({
        name,
        values: attention.map((recipe) =>
          measured(recipe, `random-${few}-cosine${name === "full" ? "+full" : ""}`)
        ),
      })),
    }),
  ];
}

/** What a chart calls a recipe of random order. */
function shortName(recipe: string): string {
  const ends: Record<string, string> = {
    "random-2-mar": "loss on the last",
    "random-2-mar+full-decoder": "… full decoder",
    "random-2-mar+loss-all": "loss on both",
    "random-2-random+loss-all": "… any split",
  };
  return ends[recipe] ?? `K = ${recipe.split("-")[1]}`;
}

/** All that was measured. */
function figures({ results }: Study): Section {
  const cell = ({ fid, accuracy }: Measure) => [show(fid), percent(accuracy)];
  return {
    title: "All figures",
    parts: [{
      kind: "table",
      head: ["trained as", "loss (nats/token)", "sampled as", "FID", "right class"],
      rows: results.flatMap(({ recipe, loss, measures }) =>
        Object.entries(measures).map(([sampling, measure], i) => [
          i === 0 ? recipe : "",
          i === 0 ? loss.toFixed(3) : "",
          sampling,
          ...cell(measure),
        ])
      ),
    }],
  };
}

/** The samples of all recipes. */
async function pictures({ tokens, results }: Study, { samples }: ReportOptions): Promise<Section> {
  const parts: Part[] = [];
  for (const { recipe } of results) {
    const png = await samples(recipe);
    const experiment = experiments(tokens).find((each) => each.recipe === recipe);
    if (!png || !experiment) continue;
    const caption = `${recipe}; rows: ${experiment.samplings.map(samplingName).join(", ")}`;
    parts.push({ kind: "images", images: [{ png, caption }] });
  }
  return { title: "Samples: the first of each class", parts, folded: true };
}

function show(value: number): string {
  return value.toPrecision(3);
}

function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}
