/**
 * The folders of `src/` and what each may import. The linter enforces the table
 * (`.oxlintrc.json`); `check-layers.ts` proves that the linter agrees with it.
 */
export const layers: Readonly<Record<string, readonly string[]>> = {
  types: [],
  db: ['types'],
  store: ['types', 'db'],
  projections: ['types', 'db', 'store'],
  subscriptions: ['types', 'db', 'store'],
  runtime: ['types', 'db', 'store', 'projections', 'subscriptions'],
  cli: ['types', 'db', 'store', 'projections', 'subscriptions', 'runtime'],
  console: ['types', 'db', 'store', 'projections', 'subscriptions', 'runtime'],
  testing: ['types', 'db', 'store', 'projections', 'subscriptions', 'runtime', 'cli', 'console'],
};
