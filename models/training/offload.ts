/**
 * The update of a step whose optimizer state and average wait in the host's memory: one tensor after another visits the
 * device, which then has to hold weights and gradients only.
 */
import { type Tensor, tensor } from "../../lib/tensor.ts";
import { jit } from "../../lib/transforms/jit.ts";
import { flatten, treeEntries } from "../../lib/tree.ts";
import { zeros } from "../../ops/create.ts";
import type { AdamWGroup } from "../../ops/optimizers/adamw.ts";
import { globalNorm } from "../../ops/optimizers/clip.ts";
import type { GradientSums, Means, StepOf } from "./accumulate.ts";
import { advance, groupsOf, metricNames, type TrainingState } from "./step.ts";

/** One of the tensors of parameters, and what belongs to it. */
interface Leaf {
  readonly weight: Tensor;
  readonly mean: Tensor;
  readonly variance: Tensor;
  readonly average?: Tensor;
}

/**
 * Makes the update of a step, given sums of gradients: the same as in one program, tensor by tensor.
 *
 * @param training The training, without buffers.
 * @param meansOf Gives the means of sums.
 * @returns A function of the state, the history and the sums; it gives state and history up.
 */
export function offloadedUpdate<P, Batch, Buffers>(
  { losses, settings }: StepOf<P, Batch, Buffers>,
  meansOf: (sums: GradientSums<P>) => Means<P>,
) {
  const step = jit(function judge(
    { step, lossScale }: { step: Tensor; lossScale?: TrainingState<P>["lossScale"] },
    history: Tensor,
    sums: GradientSums<P>,
  ) {
    const { gradients, found } = meansOf(sums);
    const norm = globalNorm(gradients);
    const optimizer = { step, mean: {}, variance: {} };
    const next = advance(settings, losses, { params: {}, optimizer, lossScale }, history, {
      gradients: {},
      found,
      norm,
      groupOf: () => undefined,
    });
    return { ...next, norm, found };
  }, { donate: [1] });

  const programs = new Map<AdamWGroup | undefined, ReturnType<typeof moveOne>>();
  const moveOne = (group: AdamWGroup | undefined) =>
    jit(function move(
      weight: Tensor,
      { mean, variance, average }: Omit<Leaf, "weight">,
      sum: Tensor,
      judged: {
        step: Tensor;
        norm: Tensor;
        found: Means<P>["found"];
        sums: Omit<GradientSums<P>, "gradients">;
      },
    ) {
      const { gradients } = meansOf({ ...judged.sums, gradients: sum as P });
      const history = zeros([1, metricNames(losses, settings.precision).length]);
      const { state } = advance(
        settings,
        losses,
        {
          params: weight,
          optimizer: { step: judged.step, mean, variance },
          ...(average ? { average } : {}),
        },
        history,
        {
          gradients: gradients as Tensor,
          found: judged.found,
          norm: judged.norm,
          groupOf: () => group,
        },
      );
      return {
        weight: state.params,
        mean: state.optimizer.mean,
        variance: state.optimizer.variance,
        ...(state.average ? { average: state.average } : {}),
      };
    }, { donate: [0] });

  return async (
    state: TrainingState<P, Buffers>,
    history: Tensor,
    { gradients, ...sums }: GradientSums<P>,
  ): Promise<{ state: TrainingState<P, Buffers>; history: Tensor }> => {
    const { optimizer, lossScale } = state;
    const judged = step(
      { step: optimizer.step, ...(lossScale ? { lossScale } : {}) },
      history,
      { gradients, ...sums },
    );
    const groupOf = groupsOf(settings, state.params);
    const pathOf = new Map(treeEntries<Tensor>(state.params).map(([path, x]) => [x, path]));
    const { leaves, structure } = flatten(state.params);
    const [means, variances, averages, given] = [
      optimizer.mean,
      optimizer.variance,
      state.average ?? [],
      gradients,
    ].map((tree) => flatten(tree).leaves as Tensor[]);
    const moved: Leaf[] = [];
    for (const [i, weight] of (leaves as Tensor[]).entries()) {
      const group = groupOf(pathOf.get(weight)!);
      let move = programs.get(group);
      if (!move) programs.set(group, move = moveOne(group));
      const old = {
        mean: means![i]!,
        variance: variances![i]!,
        ...(averages![i] ? { average: averages![i]! } : {}),
      };
      const now = move(weight, old, given![i]!, {
        step: optimizer.step,
        norm: judged.norm,
        found: judged.found,
        sums,
      });
      for (const x of Object.values(old)) x.dispose();
      moved.push({
        weight: now.weight,
        mean: await toHost(now.mean),
        variance: await toHost(now.variance),
        ...(now.average ? { average: await toHost(now.average) } : {}),
      });
    }
    const treeOf = (name: keyof Leaf) => structure.build(moved.map((leaf) => leaf[name])) as P;
    return {
      state: {
        ...state,
        params: treeOf("weight"),
        optimizer: {
          step: judged.state.optimizer.step,
          mean: treeOf("mean"),
          variance: treeOf("variance"),
        },
        ...(state.average ? { average: treeOf("average") } : {}),
        ...(judged.state.lossScale ? { lossScale: judged.state.lossScale } : {}),
      },
      history: judged.history,
    };
  };
}

/** The same elements in the host's memory alone. */
async function toHost(x: Tensor): Promise<Tensor> {
  const elements = await x.data();
  x.dispose();
  return tensor(elements, { shape: x.shape });
}
