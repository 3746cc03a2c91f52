/**
 * The folders of `src/` and what each may import. The linter enforces the table
 * (`.oxlintrc.json`); `check-layers.ts` proves that the linter agrees with it.
 */
export const layers: Readonly<Record<string, readonly string[]>> = {
  types: [],
  db: ['types'],
  store: ['types', 'db'],
  subscriptions: ['types', 'db', 'store'],
  projections: ['types', 'db', 'store', 'subscriptions'],
  runtime: ['types', 'db', 'store', 'subscriptions', 'projections'],
  cli: ['types', 'db', 'store', 'subscriptions', 'projections', 'runtime'],
  console: ['types', 'db', 'store', 'subscriptions', 'projections', 'runtime'],
  testing: ['types', 'db', 'store', 'subscriptions', 'projections', 'runtime', 'cli', 'console'],
};
