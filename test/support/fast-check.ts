/**
 * `FC_SEED` repeats a failed property with the seed that its report names; `FC_RUNS` sets how many
 * cases each property tries: few while editing, many at night.
 */
const seed = numberFrom('FC_SEED');
const numRuns = numberFrom('FC_RUNS');

if (seed !== undefined || numRuns !== undefined) {
  const { default: fc } = await import('fast-check');
  fc.configureGlobal({
    ...fc.readConfigureGlobal(),
    ...(seed !== undefined && { seed }),
    ...(numRuns !== undefined && { numRuns }),
  });
}

function numberFrom(name: string): number | undefined {
  const text = process.env[name];
  if (text === undefined || text === '') return undefined;
  if (Number.isSafeInteger(Number(text))) return Number(text);
  throw new Error(`${name} should be an integer, but is '${text}'.`);
}
