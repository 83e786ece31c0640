/** Fields that schemas of configurations have in common. */
import { z } from "npm:zod@4.6.7";

/** A whole number above 0. */
export const count = (initial: number, help: string) =>
  z.int().positive().default(initial).describe(help);

/** A number of at least 0. */
export const atLeast0 = (initial: number, help: string) =>
  z.number().nonnegative().default(initial).describe(help);

/** A number in 0..1. */
export const share = (initial: number, help: string) =>
  z.number().min(0).max(1).default(initial).describe(help);
